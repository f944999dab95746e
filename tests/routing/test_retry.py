"""Tests retries: how often, where and when; and which error the caller gets in the end."""

from __future__ import annotations

import threading
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.calls import make_call
from kit.dispatch import FakeUpstream, SecondsClock, dispatcher

from flask_gateway.dialects.error_mapping import error_for
from flask_gateway.model.call import Call
from flask_gateway.model.errors import (
    CircuitOpen,
    GatewayError,
    UpstreamAuthFailed,
    UpstreamBackingOff,
    UpstreamCut,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from flask_gateway.model.reply import Reply
from flask_gateway.routing.dispatcher import Dispatcher
from flask_gateway.routing.retry import RetryBudget

OK = b"x"


def answered(status: int, wait: str | None = None, code: str | None = None, name: str = "a") -> GatewayError:
    """An upstream's refusal or failure, as the real one raises it."""
    headers = {} if wait is None else {"retry-after": wait}
    body = msgspec.json.encode({"error": {"message": "m", "code": code}})
    return error_for(status, headers, body, name)


class Scripted(FakeUpstream):
    """Answers with the steps of its script in order, and repeats the last one."""

    def send(self, call: Call) -> Reply:
        self.asked.append(call.model)
        step = self.script[min(len(self.asked), len(self.script)) - 1]
        if isinstance(step, Exception):
            raise step
        return FakeUpstream(self.name, step).send(call)


def run(
    *services: FakeUpstream, clock: SecondsClock | None = None, **call: float
) -> tuple[dict[str, str], GatewayError | None]:
    """The headers of the answer, and the error if it is one."""
    walker = dispatcher(*services, clock=clock)
    try:
        return walker.send(msgspec.structs.replace(make_call("m"), **call)).headers, None
    except GatewayError as error:
        return error.headers, error


# ------------------------------------------------------------------ the same upstream once more


@pytest.mark.parametrize(
    ("first", "pause"),
    [
        (answered(500), (0.0, 0.1)),
        (answered(429, "1"), (1.0, 1.2)),
        (answered(503, "5"), (5.0, 5.61)),
        (answered(429, "0"), (0.0, 0.0)),
    ],
)
def test_the_same_upstream_is_retried_once(first: GatewayError, pause: tuple[float, float]) -> None:
    one, two, clock = Scripted("a", first, OK), Scripted("b", OK), SecondsClock()
    headers, error = run(one, two, clock=clock)
    assert error is None
    assert (len(one.asked), len(two.asked)) == (2, 0)
    assert pause[0] <= sum(clock.slept) <= pause[1]
    assert headers["x-gateway-retries"] == "1"
    assert (
        headers["x-gateway-attempts"]
        == f"a:{first.status if first.status == 429 else first.answered}:0.00s, a:200:0.00s"
    )  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "first",
    [
        answered(429, "6"),
        answered(429),
        answered(503),
        answered(502),
        answered(529),
        UpstreamTimeout("silent"),
        UpstreamUnreachable("reset"),
        UpstreamCut("cut"),
        CircuitOpen("open"),
        UpstreamAuthFailed("bad key"),
    ],
)
def test_after_other_errors_the_next_upstream_is_asked_at_once(first: GatewayError) -> None:
    one, two, clock = Scripted("a", first), Scripted("b", OK), SecondsClock()
    _, error = run(one, two, clock=clock)
    assert error is None
    assert (len(one.asked), len(two.asked)) == (1, 1)
    assert clock.slept == []


def test_a_second_500_goes_to_the_next() -> None:
    one, two = Scripted("a", answered(500)), Scripted("b", OK)
    headers, error = run(one, two)
    assert error is None
    assert (len(one.asked), len(two.asked)) == (2, 1)
    assert headers["x-gateway-retries"] == "2"


def test_a_pause_beyond_the_deadline_is_skipped() -> None:
    one, two, clock = Scripted("a", answered(429, "3"), OK), Scripted("b", OK), SecondsClock()
    run(one, two, clock=clock, deadline=clock.now + 2)
    assert (len(one.asked), len(two.asked), clock.slept) == (1, 1, [])


# ------------------------------------------------------------------ never more than three


def test_three_attempts_and_no_more_however_long_the_route_is() -> None:
    services = [Scripted(name, answered(502, name=name)) for name in "abcdef"]
    headers, error = run(*services)
    assert [len(service.asked) for service in services] == [1, 1, 1, 0, 0, 0]
    assert error is not None
    assert error.status == 502
    assert headers["x-should-retry"] == "false"


def test_open_circuits_are_skipped_and_do_not_count_as_attempts() -> None:
    services = [Scripted(name, CircuitOpen("open", retry_after=9.0)) for name in "abcde"]
    headers, error = run(*services, Scripted("f", OK))
    assert error is None
    assert headers["x-gateway-attempts"] == "f:200:0.00s"


def test_no_attempt_begins_just_before_the_deadline() -> None:
    clock = SecondsClock()
    one, two = Scripted("a", answered(502)), Scripted("b", OK)
    _, error = run(one, two, clock=clock, deadline=clock.now + 0.1)
    assert error is not None
    assert two.asked == []


def test_after_a_single_attempt_sdks_may_retry() -> None:
    headers, error = run(Scripted("a", answered(502)))
    assert error is not None
    assert "x-should-retry" not in headers


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("status", "code"), [(400, "content_policy_violation"), (404, None), (422, None), (413, None)]
)
def test_a_rejected_request_is_not_sent_elsewhere(status: int, code: str | None) -> None:
    one, two = Scripted("a", answered(status, code=code)), Scripted("b", OK)
    headers, error = run(one, two)
    assert error is not None
    assert (error.status, two.asked) == (status, [])
    assert "x-should-retry" not in headers


def test_a_too_long_request_goes_to_another_model_only() -> None:
    too_long = answered(400, code="context_length_exceeded")
    one, two = Scripted("a", too_long), Scripted("b", OK)
    _, error = run(one, two)  # a's model is m@a, b's is m@b
    assert error is None
    again = Scripted("a", OK)
    _, error = run(Scripted("a", too_long), again)
    assert error is not None
    assert (error.status, error.code, again.asked) == (400, "context_length_exceeded", [])


# ------------------------------------------------------------------ the final error


def test_when_all_are_throttled_it_is_a_429_with_the_shortest_wait() -> None:
    services = [Scripted("a", answered(429, "40")), Scripted("b", UpstreamBackingOff("c", retry_after=20.0))]
    _, error = run(*services)
    assert error is not None
    assert (error.status, error.retry_after) == (429, 20.0)


def test_when_all_are_open_it_is_a_503_with_the_soonest_probe() -> None:
    waits = (30.0, 10.0)
    _, error = run(*[Scripted("a", CircuitOpen("open", retry_after=wait)) for wait in waits])
    assert error is not None
    assert (error.status, error.retry_after) == (503, 10.0)


def test_a_real_failure_is_reported_before_an_open_circuit_or_a_429() -> None:
    services = [
        Scripted("a", CircuitOpen("open", retry_after=30.0)),
        Scripted("b", answered(429, "40", name="b")),
        Scripted("c", answered(502, name="c")),
    ]
    headers, error = run(*services)
    assert error is not None
    assert (error.status, error.upstream) == (502, "c")
    assert headers["x-gateway-attempts"] == "b:429:0.00s, c:502:0.00s"


# ------------------------------------------------------------------ the budget


@given(st.lists(st.tuples(st.floats(0, 0.5), st.booleans()), max_size=300))
def test_retries_are_a_fifth_of_the_calls_and_one_a_second_at_most(steps: list[tuple[float, bool]]) -> None:
    clock = SecondsClock()
    budget = RetryBudget(clock)
    retries, began = 0, clock.now
    for calls, (pause, wants) in enumerate(steps, 1):
        clock.now += pause
        budget.pay_in()
        if wants and budget.try_spend():
            retries += 1
        assert retries <= 10 + 0.2 * calls + (clock.now - began) + 1e-6


def test_an_outage_causes_no_retry_storm() -> None:
    one, two = Scripted("a", answered(502)), Scripted("b", answered(502))
    walker = dispatcher(one, two)
    for _ in range(1000):
        with pytest.raises(GatewayError):
            walker.send(make_call("m"))
    assert len(one.asked) == 1000
    assert len(two.asked) <= 10 + 200 + 1


def test_calls_that_fail_together_cannot_overdraw_the_budget() -> None:
    """60 calls pay in 12 attempts, and the budget begins with 10. Its balance never exceeds 20."""
    barrier = threading.Barrier(60)

    class Together(Scripted):
        def send(self, call: Call) -> Reply:
            with suppress(threading.BrokenBarrierError):
                barrier.wait(30)
            return super().send(call)

    one, two = Together("a", answered(502, name="a")), Scripted("b", answered(502, name="b"))
    walker = dispatcher(one, two)
    threads = [threading.Thread(target=lambda: _fails(walker)) for _ in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(one.asked) == 60
    assert 20 <= len(two.asked) <= 22


def _fails(walker: Dispatcher) -> None:
    with pytest.raises(GatewayError):
        walker.send(make_call("m"))


def test_the_payment_for_a_refused_attempt_is_refunded() -> None:
    one, two = Scripted("a", answered(502)), Scripted("b", CircuitOpen("open", retry_after=30.0))
    walker = dispatcher(one, two)
    for _ in range(50):
        _fails(walker)
    assert len(two.asked) == 50


# ------------------------------------------------------------------ long waits


@pytest.mark.parametrize("kind", [CircuitOpen, UpstreamBackingOff])
@pytest.mark.parametrize(
    ("wait", "told", "again"), [(30.0, 5.0, "false"), (4.0, 4.0, "false"), (2.0, 2.0, None), (0.5, 0.5, None)]
)
def test_an_sdk_does_not_sleep_through_a_long_wait(
    kind: type[GatewayError], wait: float, told: float, again: str | None
) -> None:
    headers, error = run(Scripted("a", kind(f"in {wait:.0f} s", retry_after=wait)))
    assert error is not None
    assert min(error.retry_after or 0, error.max_retry_after) == told
    assert headers.get("x-should-retry") == again
    assert error.message == f"in {wait:.0f} s"


def test_the_open_circuit_with_the_soonest_probe_is_reported() -> None:
    services = [
        Scripted(name, CircuitOpen(f"in {wait} s", retry_after=wait))
        for name, wait in (("a", 60.0), ("b", 20.0), ("c", 40.0))
    ]
    _, error = run(*services)
    assert error is not None
    assert error.message == "in 20.0 s"


def test_an_sdk_does_not_sleep_after_a_failure_and_an_open_circuit() -> None:
    headers, error = run(Scripted("a", answered(502)), Scripted("b", CircuitOpen("open", retry_after=30.0)))
    assert error is not None
    assert (error.status, error.max_retry_after, headers["x-should-retry"]) == (502, 5.0, "false")


def test_a_pause_requested_by_the_upstream_is_unchanged() -> None:
    headers, error = run(Scripted("a", answered(429, "40")))
    assert error is not None
    assert (error.retry_after, headers.get("x-should-retry")) == (40.0, None)


@pytest.mark.parametrize(
    ("second", "status"), [(answered(503), 502), (answered(429, "9"), 429), (CircuitOpen("open"), 503)]
)
def test_a_missing_model_is_reported_only_without_other_errors(second: GatewayError, status: int) -> None:
    lacking = answered(404, code="model_not_found")
    for order in ((lacking, second), (second, lacking)):
        services = [Scripted(name, error) for name, error in zip("ab", order, strict=True)]
        _, error = run(*services)
        assert error is not None
        assert error.status == status
    _, alone = run(Scripted("a", lacking), Scripted("b", lacking))
    assert alone is lacking
