"""Tests the circuit breaker: when it opens and closes, its probe, our credential, its clock."""

from __future__ import annotations

import logging

import msgspec
import pytest
from kit.breakers import FAILURE, IGNORED, POLICY, REFUSED, REJECTED, SUCCESS, TWICE, go, throttled, trip
from kit.calls import make_call
from kit.stores import HandClock

from flask_gateway.guards.breaker import Breaker
from flask_gateway.model.call import Outcome
from flask_gateway.model.errors import (
    CircuitOpen,
    GatewayError,
    UpstreamBackingOff,
    UpstreamError,
    UpstreamQuotaExhausted,
)
from flask_gateway.state.memory import MemoryStore
from flask_gateway.state.store import SECOND


@pytest.fixture
def breaker(store: MemoryStore) -> Breaker:
    return Breaker("llama", store, POLICY)


def refused(breaker: Breaker) -> GatewayError:
    with pytest.raises((CircuitOpen, UpstreamBackingOff)) as caught:
        go(breaker)
    return caught.value


def test_it_opens_after_max_failures_in_a_row(breaker: Breaker) -> None:
    for _ in range(POLICY.max_failures - 1):
        go(breaker).settle(FAILURE)
    go(breaker).settle(FAILURE)
    error = refused(breaker)
    assert isinstance(error, CircuitOpen)
    assert error.retry_after == 30
    assert breaker.status().state == "OPEN"


def test_a_success_resets_the_count(breaker: Breaker) -> None:
    for outcome in (FAILURE, FAILURE, SUCCESS, FAILURE, FAILURE):
        go(breaker).settle(outcome)
    assert breaker.status().state == "CLOSED"
    assert breaker.status().failures == 2


@pytest.mark.parametrize("outcome", [IGNORED, REJECTED])
def test_calls_without_a_verdict_do_not_reset_the_count(breaker: Breaker, outcome: Outcome) -> None:
    for end in (FAILURE, FAILURE, outcome, FAILURE):
        go(breaker).settle(end)
    assert breaker.status().state == "OPEN"


def test_one_probe_goes_after_the_reset_time(breaker: Breaker, clock: HandClock) -> None:
    trip(breaker)
    clock.advance(29.9)
    refused(breaker)
    clock.advance(0.1)
    probe = go(breaker)
    refused(breaker)
    assert breaker.status().state == "HALF_OPEN"
    probe.settle(SUCCESS)
    assert breaker.status().state == "CLOSED"
    go(breaker)


def openings(breaker: Breaker, clock: HandClock, count: int) -> list[float]:
    """Open the circuit, let so many probes fail, and return how long it was open each time, seconds."""
    trip(breaker)
    waits = []
    for _ in range(count):
        wait = refused(breaker).retry_after
        assert wait is not None
        waits.append(wait)
        clock.advance(wait - 0.01)
        refused(breaker)
        clock.advance(0.01 + 1e-6)
        go(breaker).settle(FAILURE)
    return waits


@pytest.mark.parametrize(
    ("reset", "expected"),
    [
        (5.0, [5, 10, 20, 40, 60, 60]),
        (30.0, [30, 60, 60]),
        (100.0, [100, 100, 100]),
    ],
)
def test_a_probe_that_fails_opens_again_for_twice_as_long(
    store: MemoryStore, clock: HandClock, reset: float, expected: list[float]
) -> None:
    breaker = Breaker("llama", store, msgspec.structs.replace(POLICY, reset=int(reset * SECOND)))
    first, *repeated = openings(breaker, clock, len(expected))
    assert first == reset
    assert repeated == [pytest.approx(wait, rel=0.2) for wait in expected[1:]]


def test_repeated_openings_differ_from_one_breaker_to_the_next(store: MemoryStore, clock: HandClock) -> None:
    waits = {openings(Breaker(f"u{number}", store, POLICY), clock, 2)[1] for number in range(8)}
    assert len(waits) == 8
    assert max(waits) - min(waits) > 1


def test_a_close_forgets_how_often_it_has_opened(breaker: Breaker, clock: HandClock) -> None:
    openings(breaker, clock, 2)
    clock.advance(72)
    go(breaker).settle(SUCCESS)
    trip(breaker)
    assert refused(breaker).retry_after == 30


def test_several_successes_close_if_it_is_set_so(store: MemoryStore, clock: HandClock) -> None:
    breaker = Breaker("llama", store, TWICE)
    trip(breaker)
    clock.advance(30)
    first = go(breaker)
    refused(breaker)
    first.settle(SUCCESS)
    assert breaker.status().state == "HALF_OPEN"
    second = go(breaker)
    refused(breaker)
    second.settle(SUCCESS)
    assert breaker.status().state == "CLOSED"


def test_successes_that_are_not_in_a_row_do_not_close(store: MemoryStore, clock: HandClock) -> None:
    breaker = Breaker("llama", store, TWICE)
    trip(breaker)
    clock.advance(30)
    for outcome in (SUCCESS, FAILURE):
        go(breaker).settle(outcome)
    clock.advance(72)
    go(breaker).settle(SUCCESS)
    assert breaker.status().state == "HALF_OPEN"


@pytest.mark.parametrize("outcome", [REJECTED, REFUSED, throttled(None)])
def test_a_probe_that_got_any_answer_closes(breaker: Breaker, clock: HandClock, outcome: Outcome) -> None:
    trip(breaker)
    clock.advance(30)
    go(breaker).settle(outcome)
    assert breaker.status().state == "CLOSED"


def test_a_probe_that_says_nothing_gives_its_lease_back(breaker: Breaker, clock: HandClock) -> None:
    trip(breaker)
    clock.advance(30)
    go(breaker).settle(IGNORED)
    go(breaker)
    refused(breaker)


def test_a_probe_that_never_comes_home_blocks_for_its_lease_only(breaker: Breaker, clock: HandClock) -> None:
    trip(breaker)
    clock.advance(30)
    go(breaker)
    clock.advance(11.9)
    refused(breaker)
    clock.advance(0.1)
    go(breaker)


@pytest.mark.parametrize(("stream", "lease"), [(True, 12), (False, 122)])
def test_a_probe_has_as_long_as_its_answer_may_take(
    store: MemoryStore, clock: HandClock, stream: bool, lease: float
) -> None:
    """An answer in one piece takes as long as its generation; a stream shows itself well much sooner."""
    breaker = Breaker("llama", store, msgspec.structs.replace(POLICY, answer_lease=122 * SECOND))
    trip(breaker)
    clock.advance(30)
    breaker.admit(make_call(stream=stream))
    clock.advance(lease - 0.1)
    refused(breaker)
    clock.advance(0.1)
    breaker.admit(make_call(stream=stream))


def test_a_probe_later_than_its_lease_cannot_give_back_the_next_ones(
    breaker: Breaker, clock: HandClock
) -> None:
    trip(breaker)
    clock.advance(30)
    late = go(breaker)
    clock.advance(12)
    go(breaker)
    late.settle(IGNORED)
    refused(breaker)


def test_a_long_stream_that_was_the_probe_still_closes_at_its_end(breaker: Breaker, clock: HandClock) -> None:
    trip(breaker)
    clock.advance(30)
    stream = go(breaker)
    clock.advance(300)
    stream.settle(SUCCESS)
    assert breaker.status().state == "CLOSED"


def test_a_failure_from_before_the_outage_cannot_open_a_healed_circuit(
    breaker: Breaker, clock: HandClock
) -> None:
    slow = [go(breaker) for _ in range(3)]
    trip(breaker)
    clock.advance(30)
    go(breaker).settle(SUCCESS)
    for permit in slow:
        permit.settle(FAILURE)
    assert breaker.status() == breaker.status().__class__("llama", "CLOSED", 0, None)


def test_a_success_from_before_the_outage_cannot_close_it(breaker: Breaker) -> None:
    slow = go(breaker)
    trip(breaker)
    slow.settle(SUCCESS)
    refused(breaker)


def test_a_permit_settles_once(breaker: Breaker) -> None:
    permit = go(breaker)
    for _ in range(5):
        permit.settle(FAILURE)
    assert breaker.status().failures == 1


@pytest.mark.parametrize(("asked", "least", "most"), [(7, 7, 7.7), (None, 5, 5.5), (1e9, 60, 66), (0, 0, 0)])
def test_a_429_cools_down_and_does_not_count(
    breaker: Breaker, asked: float | None, least: float, most: float
) -> None:
    go(breaker).settle(throttled(asked))
    status = breaker.status()
    assert (status.state, status.failures) == ("CLOSED", 0)
    if most:
        error = refused(breaker)
        assert isinstance(error, UpstreamBackingOff)
        assert error.retry_after is not None
        assert least <= error.retry_after <= most
        assert status.retry_after == pytest.approx(error.retry_after, abs=0.001)
    else:
        go(breaker)


# ------------------------------------------------------------------ our credential


def test_a_refused_credential_is_noted_for_a_minute(breaker: Breaker, clock: HandClock) -> None:
    assert not breaker.credential_refused
    go(breaker).settle(REFUSED)
    assert (breaker.credential_refused, breaker.status().credential_refused) == (True, True)
    assert (breaker.status().state, breaker.status().retry_after) == ("CLOSED", None)
    clock.advance(59.9)
    assert breaker.credential_refused
    clock.advance(0.1)
    assert not breaker.credential_refused


def test_a_success_clears_it(breaker: Breaker) -> None:
    for outcome in (REFUSED, REJECTED, FAILURE):
        go(breaker).settle(outcome)
    assert breaker.credential_refused
    go(breaker).settle(SUCCESS)
    assert not breaker.credential_refused


def test_it_is_logged_once_in_that_minute(
    breaker: Breaker, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(7):
        go(breaker).settle(REFUSED)
        clock.advance(10)
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (
            logging.WARNING,
            "upstream 'llama' refused the gateway's credential (status 401): for 60 s it is tried last",
        )
    ] * 2


def test_the_log_tells_an_empty_account_from_a_refused_credential(
    breaker: Breaker, caplog: pytest.LogCaptureFixture
) -> None:
    spent = UpstreamQuotaExhausted("x", status=429, error_object={})
    go(breaker).settle(Outcome(spent.verdict, error=spent))
    assert [record.getMessage() for record in caplog.records] == [
        "upstream 'llama' says that its quota or credit is used up (status 429): for 60 s it is tried last"
    ]


def test_a_clock_set_back_forgets_it(breaker: Breaker, clock: HandClock) -> None:
    go(breaker).settle(REFUSED)
    clock.advance(-3600)
    assert not breaker.credential_refused


# ------------------------------------------------------------------ its clock, its store


def test_a_clock_set_back_by_an_hour_does_not_block_for_an_hour(breaker: Breaker, clock: HandClock) -> None:
    trip(breaker)
    clock.advance(-3600)
    refused(breaker)
    clock.advance(30)
    go(breaker)


def test_a_healthy_call_writes_nothing(breaker: Breaker, store: MemoryStore) -> None:
    go(breaker).settle(SUCCESS)
    assert list(store.scan("")) == []


def test_a_value_with_another_layout_is_ignored(breaker: Breaker, store: MemoryStore) -> None:
    store.update("breaker:llama", lambda old, now: ((1, 2), None), 60)
    go(breaker).settle(SUCCESS)


def test_an_upstream_error_counts_with_its_own_verdict(breaker: Breaker) -> None:
    go(breaker).settle(Outcome(UpstreamError.verdict, error=UpstreamError("x")))
    assert breaker.status().failures == 1
