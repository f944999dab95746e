"""Plays the golden cases of calls that no translation touches: whole, byte by byte, and at random splits.

A case is a JSON file in ``tests/golden/same-dialect``. ``answered`` are the upstream's events, ``given``
those of the caller if they differ, ``error`` the code of the error that ends the answer.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Any
from unittest import mock

import msgspec
import pytest
from kit import golden
from kit.calls import make_call
from kit.examples import examples

from flask_gateway.config.kinds import HOSTED_CLOCKS, KINDS
from flask_gateway.config.schema import Timeouts
from flask_gateway.dialects.error_mapping import error_for
from flask_gateway.dialects.transcripts import transcript_for
from flask_gateway.model.call import Call, Operation
from flask_gateway.model.errors import GatewayError, UpstreamRefusal, UpstreamThrottled
from flask_gateway.model.reply import Transcript
from flask_gateway.upstreams.anthropic_headers import anthropic_error
from flask_gateway.upstreams.transport.deadlines import UpstreamAttempt

CASES = golden.cases("same-dialect")
STREAMS = {name: case for name, case in CASES.items() if "answered" in case}
WELL = [name for name, case in STREAMS.items() if "error" not in case]
#: The random splits of all streams together.
SPLITS = examples(300, 10_000)


def call_of(case: golden.Case, *, whole: bool = False) -> Call:
    made = make_call("model", stream=True)
    return msgspec.structs.replace(made, operation=Operation(case["operation"]), whole=whole)


def joined(events: Iterable[str]) -> bytes:
    return b"".join(event.encode() + b"\n\n" for event in events)


def read(case: golden.Case, pieces: Iterable[bytes], *, whole: bool = False) -> tuple[bytes, Any, str | None]:
    """The bytes for the caller, the transcript, and the code of the error that ended the answer."""
    transcript, given = transcript_for(call_of(case, whole=whole), "up"), b""
    try:
        for piece in pieces:
            given += transcript.feed(piece)
        return given + (b"" if transcript.finished else transcript.end()), transcript, None
    except GatewayError as error:
        # Before the commit another candidate is asked, and the caller gets nothing of this one.
        return given + transcript.cut(error) if transcript.ready else b"", transcript, error.code


def splits(data: bytes, times: int) -> Iterator[Iterable[bytes]]:
    yield [data]
    yield [data[at : at + 1] for at in range(len(data))]
    chance = random.Random(19)
    for _ in range(times):
        yield golden.pieces(data, [chance.randrange(len(data)) for _ in range(chance.randrange(1, 12))])


@pytest.mark.parametrize("name", STREAMS)
def test_an_answer_passes_as_written_down_however_it_is_cut(name: str) -> None:
    case = STREAMS[name]
    data = joined(case["answered"])
    begun = "error" not in case or "given" in case
    expected = joined(case.get("given", case["answered"])) if begun else b""
    for pieces in splits(data, SPLITS // len(STREAMS)):
        given, transcript, code = read(case, pieces)
        assert (given, code) == (expected, case.get("error"))
        assert transcript.complete is ("error" not in case)


@pytest.mark.parametrize("name", WELL)
def test_a_buffered_answer_is_the_same(name: str) -> None:
    case = STREAMS[name]
    for pieces in splits(joined(case["answered"]), 5):
        assert read(case, pieces, whole=True)[0] == joined(case.get("given", case["answered"]))


def test_usage_is_cumulative_and_has_all_input() -> None:
    case = CASES["09-usage"]
    for pieces in splits(joined(case["answered"]), 20):
        usage = read(case, pieces)[1].usage
        assert {
            "prompt": usage.prompt_tokens,
            "cached": usage.cached_tokens,
            "write": usage.units.write,
            "completion": usage.completion_tokens,
        } == case["usage"]


def test_no_clock_rings_while_a_model_thinks() -> None:
    """Three minutes of hidden thinking, with a ping every 50 s, at the timeouts of hosted kinds."""
    case = CASES["05-hidden-thinking"]
    call = call_of(case)
    transcript: Transcript = transcript_for(call, "up")
    attempt = UpstreamAttempt(call, "up", Timeouts(**HOSTED_CLOCKS), lambda: transcript.ready)
    attempt.connected()
    attempt.answered()
    opening, ping = joined(case["answered"][:2]), joined(case["answered"][2:3])
    assert transcript.feed(opening) == opening
    for seconds in range(0, 200, 50):
        with mock.patch("time.monotonic", return_value=attempt.started + seconds):
            attempt.check()
            assert attempt.patience == HOSTED_CLOCKS["idle"]
            assert transcript.feed(ping) == ping
    attempt.close()


def test_a_refusal_keeps_its_bytes() -> None:
    case = CASES["10-refusal"]
    body = case["body"].encode()
    error = anthropic_error(error_for(case["status"], {}, body, "up"), {}, body, KINDS["anthropic"])
    assert isinstance(error, UpstreamRefusal)
    assert (error.status, error.body) == (case["status"], body)


def test_an_error_in_a_list_keeps_its_words_and_its_wait() -> None:
    case = CASES["61-gemini-list"]
    error = error_for(case["status"], {}, case["body"].encode(), "up")
    assert isinstance(error, UpstreamThrottled)
    assert {name: error.error_object[name] for name in case["kept"]} == case["kept"]
    assert (error.answered, error.retry_after) == (case["status"], case["retry_after"])
