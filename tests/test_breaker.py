"""The circuit breaker: its transitions one by one, then any sequence of them against a plain model."""

from __future__ import annotations

import pytest
from conftest import make_call
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from stores_support import HandClock

from flask_gateway.core import SECOND, Outcome
from flask_gateway.errors import (
    CircuitOpen,
    GatewayError,
    UpstreamCooling,
    UpstreamError,
    UpstreamThrottled,
    Verdict,
)
from flask_gateway.guards.breaker import Breaker, BreakerPermit
from flask_gateway.guards.circuit import Policy
from flask_gateway.stores.memory import MemoryStore

POLICY = Policy(max_failures=3, reset=30 * SECOND, lease=12 * SECOND)

SUCCESS = Outcome(Verdict.SUCCESS)
FAILURE = Outcome(Verdict.FAILURE)
IGNORED = Outcome(Verdict.IGNORED)
ANSWERED = Outcome(Verdict.ANSWERED)


def throttled(seconds: float | None) -> Outcome:
    error = UpstreamThrottled("slow down", status=429, said={}, retry_after=seconds)
    return Outcome(Verdict.THROTTLED, error=error)


@pytest.fixture
def breaker(store: MemoryStore) -> Breaker:
    return Breaker("llama", store, POLICY)


def go(breaker: Breaker) -> BreakerPermit:
    return breaker.admit(make_call())


def trip(breaker: Breaker) -> None:
    for _ in range(POLICY.max_failures):
        go(breaker).settle(FAILURE)


def refused(breaker: Breaker) -> GatewayError:
    with pytest.raises((CircuitOpen, UpstreamCooling)) as caught:
        go(breaker)
    return caught.value


def test_it_opens_after_so_many_failures_in_a_row(breaker: Breaker) -> None:
    for _ in range(POLICY.max_failures - 1):
        go(breaker).settle(FAILURE)
    go(breaker).settle(FAILURE)
    error = refused(breaker)
    assert isinstance(error, CircuitOpen)
    assert error.retry_after == 30
    assert breaker.status().state == "OPEN"


def test_a_success_between_begins_the_count_anew(breaker: Breaker) -> None:
    for outcome in (FAILURE, FAILURE, SUCCESS, FAILURE, FAILURE):
        go(breaker).settle(outcome)
    assert breaker.status().state == "CLOSED"
    assert breaker.status().failures == 2


@pytest.mark.parametrize("outcome", [IGNORED, ANSWERED])
def test_what_says_nothing_of_the_upstream_leaves_the_count(breaker: Breaker, outcome: Outcome) -> None:
    for end in (FAILURE, FAILURE, outcome, FAILURE):
        go(breaker).settle(end)
    assert breaker.status().state == "OPEN"


def test_one_probe_goes_when_the_time_has_come(breaker: Breaker, clock: HandClock) -> None:
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


def test_a_probe_that_fails_opens_again_for_the_whole_time(breaker: Breaker, clock: HandClock) -> None:
    trip(breaker)
    clock.advance(30)
    go(breaker).settle(FAILURE)
    clock.advance(29.9)
    refused(breaker)
    clock.advance(0.1)
    go(breaker)


@pytest.mark.parametrize("outcome", [ANSWERED, throttled(None)])
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
        assert isinstance(error, UpstreamCooling)
        assert error.retry_after is not None
        assert least <= error.retry_after <= most
        assert status.retry_after == pytest.approx(error.retry_after, abs=0.001)
    else:
        go(breaker)


def test_a_clock_set_back_by_an_hour_does_not_hold_for_an_hour(breaker: Breaker, clock: HandClock) -> None:
    trip(breaker)
    clock.advance(-3600)
    refused(breaker)
    clock.advance(30)
    go(breaker)


def test_a_healthy_call_writes_nothing(breaker: Breaker, store: MemoryStore) -> None:
    go(breaker).settle(SUCCESS)
    assert list(store.scan("")) == []


def test_state_that_is_not_ours_is_as_good_as_none(breaker: Breaker, store: MemoryStore) -> None:
    store.update("breaker:llama", lambda old, now: ((1, 2), None), 60)
    go(breaker).settle(SUCCESS)


def test_an_upstream_error_counts_with_its_own_verdict(breaker: Breaker) -> None:
    go(breaker).settle(Outcome(UpstreamError.verdict, error=UpstreamError("x")))
    assert breaker.status().failures == 1


class BreakerMachine(RuleBasedStateMachine):
    """Calls begin and end in any order, with any verdict, while time passes. The model keeps whole
    seconds and plain variables."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = HandClock()
        self.breaker = Breaker("m", MemoryStore(self.clock), POLICY)
        self.now = 0
        self.phase, self.failures, self.until, self.era, self.cool = "CLOSED", 0, 0, 0, 0
        self.open: list[tuple[BreakerPermit, int, int]] = []

    @rule(seconds=st.sampled_from([1, 5, 11, 12, 29, 30, 31, 100]))
    def pass_time(self, seconds: int) -> None:
        self.now += seconds
        self.clock.advance(seconds)

    @rule()
    def begin(self) -> None:
        try:
            permit = go(self.breaker)
        except UpstreamCooling:
            assert self.now < self.cool
        except CircuitOpen:
            assert self.now >= self.cool
            assert self.phase != "CLOSED"
            assert self.now < self.until
        else:
            assert self.now >= self.cool
            lease = 0
            if self.phase != "CLOSED":
                assert self.now >= self.until
                self.era += self.phase == "OPEN"
                self.phase = "HALF_OPEN"
                self.until = lease = self.now + 12
            self.open.append((permit, self.era, lease))

    @precondition(lambda self: self.open)
    @rule(data=st.data(), verdict=st.sampled_from(Verdict))
    def end(self, data: st.DataObject, verdict: Verdict) -> None:
        permit, era, lease = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        # A pause of 0 s keeps the jitter out of the model; that pauses work is tested above.
        permit.settle(throttled(0) if verdict is Verdict.THROTTLED else Outcome(verdict))
        if era != self.era:
            return
        if verdict is Verdict.FAILURE:
            self.failures += 1
            if self.phase == "HALF_OPEN" or self.failures >= 3:
                self.phase, self.until, self.era = "OPEN", self.now + 30, self.era + 1
        elif self.phase == "HALF_OPEN":
            if verdict is Verdict.IGNORED:
                self.until = self.now if self.until == lease else self.until
            else:
                self.phase, self.failures, self.era = "CLOSED", 0, self.era + 1
        elif verdict is Verdict.SUCCESS:
            self.failures = 0

    @invariant()
    def the_status_is_the_models(self) -> None:
        status = self.breaker.status()
        assert (status.state, status.failures) == (self.phase, self.failures)


TestBreakerMachine = BreakerMachine.TestCase
TestBreakerMachine.settings = settings(max_examples=2000, stateful_step_count=20, deadline=None)
