"""Tests the dispatcher and the guards: every permit is settled once, in every outcome."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

import msgspec
import pytest
from kit.calls import make_call
from kit.dispatch import FakeUpstream, SecondsClock, dispatcher

from flask_gateway.dialects.error_mapping import error_for
from flask_gateway.model.call import Call, Outcome
from flask_gateway.model.errors import (
    CallerLeft,
    CircuitOpen,
    GatewayError,
    RateLimited,
    UpstreamCut,
    UpstreamError,
    UpstreamRefusal,
    UpstreamUnreachable,
    Verdict,
)
from flask_gateway.model.reply import Reply
from flask_gateway.routing.dispatcher import Candidate, Dispatcher, Guarded
from flask_gateway.telemetry.request_record import RecordingService, RequestRecord


class FakeGuard:
    """Admits or refuses calls, and notes the outcomes of its permits."""

    def __init__(self, refusal: GatewayError | None = None, **headers: str) -> None:
        self.refusal = refusal
        self.headers = headers
        self.settled: list[Outcome] = []
        self.cancelled = 0

    def admit(self, call: Call) -> FakeGuard:
        if self.refusal:
            raise self.refusal
        return self

    def settle(self, outcome: Outcome) -> None:
        self.settled.append(outcome)

    def cancel(self) -> None:
        self.cancelled += 1

    @property
    def verdicts(self) -> list[Verdict]:
        return [outcome.verdict for outcome in self.settled]


def test_a_refusal_cancels_the_permits_of_earlier_guards() -> None:
    first, second, third = FakeGuard(seen="1"), FakeGuard(RateLimited("no")), FakeGuard()
    with pytest.raises(RateLimited) as caught:
        Guarded(FakeUpstream("u"), [first, second, third]).send(make_call())
    assert (first.verdicts, first.cancelled) == ([], 1)
    assert (second.cancelled, third.cancelled) == (0, 0)
    assert third.verdicts == []
    assert caught.value.headers == {"seen": "1"}


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (UpstreamUnreachable("x"), Verdict.FAILURE),
        (RuntimeError("bug"), Verdict.IGNORED),
        (UpstreamRefusal("x", status=400, error_object={}), Verdict.REJECTED),
    ],
)
def test_an_error_settles_with_its_own_verdict(error: Exception, verdict: Verdict) -> None:
    guard = FakeGuard()
    with pytest.raises(type(error)):
        Guarded(FakeUpstream("u", error), [guard]).send(make_call())
    assert guard.verdicts == [verdict]


def test_a_reply_settles_when_it_ends_and_not_before() -> None:
    guard = FakeGuard(seen="1")
    reply = Guarded(FakeUpstream("u", b"a", b"b"), [guard]).send(make_call()).prime()
    assert reply.headers == {"seen": "1"}
    assert guard.verdicts == []
    list(reply)
    assert guard.verdicts == [Verdict.SUCCESS]


def test_a_permit_gets_the_time_to_the_first_token() -> None:
    clock, guard = SecondsClock(), FakeGuard()

    class Slow(FakeUpstream):
        def send(self, call: Call) -> Reply:
            clock.now += 2.5
            return super().send(call)

    reply = dispatcher(Guarded(Slow("u", b"a", b"b"), [guard]), clock=clock).send(make_call())
    clock.now += 60
    list(reply)
    assert [outcome.first_token_seconds for outcome in guard.settled] == [2.5]


def test_an_error_that_no_other_upstream_can_avoid_is_raised_at_once() -> None:
    second = FakeUpstream("b", b"x")
    with pytest.raises(UpstreamRefusal):
        dispatcher(FakeUpstream("a", UpstreamRefusal("x", status=400, error_object={})), second).send(
            make_call()
        )
    assert second.asked == []


@pytest.mark.parametrize("error", [UpstreamUnreachable("x"), CircuitOpen("x"), UpstreamCut("x")])
def test_an_error_that_another_upstream_may_avoid_goes_to_the_next(error: GatewayError) -> None:
    first, second = FakeUpstream("a", error), FakeUpstream("b", b"x")
    assert list(dispatcher(first, second).send(make_call("m"))) == [b"x", b"."]
    assert (first.asked, second.asked) == (["m@a"], ["m@b"])


def test_a_stream_that_breaks_before_its_commit_goes_to_the_next() -> None:
    guard = FakeGuard()
    first = Guarded(FakeUpstream("a", UpstreamCut("early"), b""), [guard])
    assert list(dispatcher(first, FakeUpstream("b", b"x")).send(make_call())) == [b"x", b"."]
    assert guard.verdicts == [Verdict.FAILURE]


def test_if_all_fail_the_first_error_is_reported() -> None:
    services = FakeUpstream("a", UpstreamUnreachable("first")), FakeUpstream("b", CircuitOpen("second"))
    with pytest.raises(UpstreamUnreachable, match="first"):
        dispatcher(*services).send(make_call())


def test_a_pause_ends_if_the_caller_leaves() -> None:
    busy = error_for(429, {"retry-after": "5"}, b"", "a")
    first, second = FakeUpstream("a", busy), FakeUpstream("b", b"x")
    call = make_call()
    leaving = threading.Timer(0.05, call.cancellation.cancel, [CallerLeft("gone")])
    leaving.start()
    began = time.monotonic()
    with pytest.raises(CallerLeft) as caught:
        Dispatcher(lambda _: [Candidate(first, "m"), Candidate(second, "m")]).send(call)
    leaving.join()
    assert time.monotonic() - began < 4
    assert (len(first.asked), second.asked) == (1, [])
    assert caught.value.headers["x-gateway-attempts"].startswith("a:429:")


# ------------------------------------------------------------------ the record


def recorded(service: FakeUpstream | Dispatcher) -> tuple[RecordingService, list[RequestRecord]]:
    told: list[RequestRecord] = []

    def broken(record: RequestRecord) -> None:
        raise RuntimeError

    return RecordingService(service, [broken, told.append]), told


def test_an_error_is_recorded_once() -> None:
    service, told = recorded(FakeUpstream("a", UpstreamUnreachable("x", upstream="a")))
    with pytest.raises(UpstreamUnreachable):
        service.send(make_call())
    assert [(r.status, r.code, r.upstream, r.outcome) for r in told] == [
        (502, "upstream_unreachable", "a", "failure")
    ]


def test_a_reply_is_recorded_when_it_is_over() -> None:
    service, told = recorded(FakeUpstream("a", b"x"))
    reply = service.send(make_call()).prime()
    assert told == []
    list(reply)
    assert [(r.status, r.outcome, r.usage) for r in told] == [(200, "success", reply.usage)]


def test_a_caller_who_left_is_a_499() -> None:
    service, told = recorded(FakeUpstream("a", b"x", b"y"))
    service.send(make_call()).prime().close()
    assert [(r.status, r.outcome) for r in told] == [(499, "ignored")]


def test_a_stream_that_broke_is_recorded_with_its_reason() -> None:
    service, told = recorded(FakeUpstream("a", b"x", UpstreamCut("gone")))
    list(service.send(make_call()).prime())
    assert [(r.status, r.outcome, r.code) for r in told] == [(200, "failure", "upstream_stream_cut")]


@pytest.mark.parametrize(
    ("second", "said"),
    [((b"x",), ["a:502", "b:200"]), ((UpstreamUnreachable("x"),), ["a:502", "b:upstream_unreachable"])],
)
def test_the_record_has_all_attempts(second: tuple[bytes | Exception], said: list[str]) -> None:
    full, first = FakeUpstream("full", CircuitOpen("x")), FakeUpstream("a", error_for(502, {}, b"", "a"))
    service, told = recorded(dispatcher(full, first, FakeUpstream("b", *second)))
    with suppress(UpstreamError):
        list(service.send(make_call()))
    (record,) = told
    assert [f"{one.upstream}:{one.result}" for one in record.attempts] == said


def test_every_permit_and_the_record_learn_which_upstream_and_model_answered() -> None:
    inner, outer, failed = FakeGuard(), FakeGuard(), FakeGuard()
    clock = SecondsClock()
    first = Guarded(FakeUpstream("a", error_for(502, {}, b"", "a")), [failed])
    chosen = dispatcher(first, Guarded(FakeUpstream("b", b"x"), [inner]), clock=clock)
    told: list[RequestRecord] = []
    service = RecordingService(Guarded(chosen, [outer]), [told.append])
    call = msgspec.structs.replace(make_call(), started=clock.now - 2.0, started_ns=10**18)
    list(service.send(call))
    for outcome in (*inner.settled, *outer.settled):
        assert (outcome.upstream, outcome.model) == ("b", "m@b")
    assert [(outcome.upstream, outcome.model) for outcome in failed.settled] == [("a", None)]
    (record,) = told
    assert (record.upstream, record.upstream_model, record.started_ns) == ("b", "m@b", 10**18)
    assert [attempt.started_ns for attempt in record.attempts] == [10**18 + 2 * 10**9] * 2


def test_the_record_is_made_after_every_permit_has_settled() -> None:
    steps: list[str] = []

    class Noting(FakeGuard):
        def settle(self, outcome: Outcome) -> None:
            steps.append("settled")
            raise RuntimeError("the store is gone")

    service = RecordingService(
        Guarded(FakeUpstream("a", b"x"), [Noting()]), [lambda record: steps.append("told")]
    )
    reply = service.send(make_call()).prime()
    reply.on_close(lambda outcome: steps.append("released"))  # as the web layer does, outside the service
    list(reply)
    reply.close()
    assert steps == ["released", "settled", "told"]


def test_a_permit_that_fails_to_settle_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    class Breaking(FakeGuard):
        def settle(self, outcome: Outcome) -> None:
            raise RuntimeError("the store is gone")

    first, last = FakeGuard(), Breaking()
    with pytest.raises(UpstreamCut):
        Guarded(FakeUpstream("a", UpstreamCut("cut")), [first, last]).send(make_call())
    assert [outcome.verdict for outcome in first.settled] == [Verdict.FAILURE]
    assert "the store is gone" in caplog.text
