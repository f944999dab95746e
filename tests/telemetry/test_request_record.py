"""The record of a finished call."""

from __future__ import annotations

import msgspec
import pytest
from kit.calls import make_call

from flask_gateway.model.call import Attempt, Call
from flask_gateway.model.errors import CallerLeft, RateLimited, TooManyConcurrent, UpstreamCut
from flask_gateway.model.reply import Reply
from flask_gateway.telemetry.request_record import RecordingService, RequestRecord


class Fails:
    """A service that spends time at an upstream, and then raises."""

    name = "fails"

    def __init__(self, said: Exception) -> None:
        self._said = said

    def send(self, call: Call) -> Reply:
        call.attempts.append(Attempt("llama", "200", 1000.0, "llama-3"))
        raise self._said


def recorded(call: Call, said: Exception, *, prompts: bool = False) -> RequestRecord:
    told: list[RequestRecord] = []
    service = RecordingService(Fails(said), [told.append], prompts=prompts)
    with pytest.raises(type(said)):
        service.send(call)
    (record,) = told
    return record


@pytest.mark.parametrize(
    ("error", "limited"),
    [
        (RateLimited("so many"), "requests"),
        (TooManyConcurrent("so many"), "concurrency"),
        (UpstreamCut("cut"), None),
    ],
)
def test_a_record_says_which_limit_refused(error: Exception, limited: str | None) -> None:
    assert recorded(make_call(), error).limited == limited


def test_an_internal_error_is_recorded() -> None:
    record = recorded(make_call(), ZeroDivisionError())
    assert (record.status, record.code) == (500, "internal_error")


def test_overhead_excludes_the_time_of_attempts() -> None:
    call = make_call()  # it began at 0 of a clock that counts from the machine's start
    record = recorded(call, RateLimited("so many"))
    assert record.overhead == record.seconds - 1000.0
    assert record.upstream_model == "llama-3"


def test_prompts_are_recorded_only_if_enabled_and_are_cut() -> None:
    call = make_call()
    assert recorded(call, CallerLeft("left")).prompt is None
    assert recorded(call, CallerLeft("left"), prompts=True).prompt == '[{"role":"user","content":"Hello"}]'
    long = msgspec.structs.replace(call, fields={"input": msgspec.Raw(b'"' + "é".encode() * 5000 + b'"')})
    kept = recorded(long, CallerLeft("left"), prompts=True).prompt
    assert kept is not None
    assert 2048 <= len(kept) <= 4096
