"""Tests the breaker's state: its window of ten seconds, and any sequence of calls against a model."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from kit.breakers import FAILURE, IGNORED, POLICY, REFUSED, REJECTED, SUCCESS, TWICE, go, throttled, trip
from kit.examples import examples
from kit.stores import HandClock

from flask_gateway.guards.breaker import Breaker, BreakerPermit
from flask_gateway.guards.breaker_state import State
from flask_gateway.model.call import Outcome
from flask_gateway.model.errors import (
    CircuitOpen,
    Verdict,
)
from flask_gateway.state.memory import MemoryStore
from flask_gateway.state.store import SECOND

#: One that a few failures in a row do not open, but their share does.
BY_RATE = msgspec.structs.replace(POLICY, max_failures=20)


SLOW = Outcome(Verdict.SUCCESS, first_token_seconds=2.5)


@pytest.fixture
def breaker(store: MemoryStore) -> Breaker:
    return Breaker("llama", store, POLICY)


@pytest.fixture
def by_rate(store: MemoryStore) -> Breaker:
    return Breaker("llama", store, BY_RATE)


def state_after(breaker: Breaker, outcomes: list[Outcome]) -> str:
    for outcome in outcomes:
        go(breaker).settle(outcome)
    return breaker.status().state


@pytest.mark.parametrize("bad", [10, 20])
def test_it_opens_when_half_of_enough_calls_failed(by_rate: Breaker, bad: int) -> None:
    mixed = [FAILURE, SUCCESS] * (20 - bad) + [FAILURE] * (2 * bad - 20)
    assert state_after(by_rate, mixed[:-1]) == "CLOSED"
    assert state_after(by_rate, mixed[-1:]) == "OPEN"


def test_less_than_half_is_not_enough(by_rate: Breaker) -> None:
    assert state_after(by_rate, [FAILURE] * 9 + [SUCCESS] * 11 + [FAILURE, SUCCESS] * 30) == "CLOSED"


def test_a_higher_max_failures_is_the_minimum_of_the_window(store: MemoryStore) -> None:
    breaker = Breaker("llama", store, msgspec.structs.replace(POLICY, max_failures=100))
    assert state_after(breaker, [SUCCESS, FAILURE] * 50) == "CLOSED"
    assert state_after(breaker, [FAILURE]) == "OPEN"


def test_calls_without_a_verdict_do_not_count_in_the_window(by_rate: Breaker) -> None:
    quiet = [IGNORED, REJECTED, throttled(0), REFUSED] * 10
    assert state_after(by_rate, [FAILURE, *quiet, SUCCESS, *[FAILURE] * 17]) == "CLOSED"
    assert state_after(by_rate, [FAILURE]) == "OPEN"


def test_the_window_begins_with_the_first_failure(by_rate: Breaker, clock: HandClock) -> None:
    assert state_after(by_rate, [SUCCESS] * 100 + [FAILURE] * 10) == "CLOSED"
    clock.advance(9.9)
    assert state_after(by_rate, [SUCCESS] * 9) == "CLOSED"
    assert state_after(by_rate, [SUCCESS]) == "OPEN"


def test_the_window_is_over_after_ten_seconds(by_rate: Breaker, clock: HandClock) -> None:
    assert state_after(by_rate, [FAILURE] * 19) == "CLOSED"
    clock.advance(10)
    assert state_after(by_rate, [SUCCESS] * 5 + [FAILURE] * 19) == "CLOSED"
    assert state_after(by_rate, [FAILURE]) == "OPEN"


def test_calls_counted_before_the_opening_are_not_counted_again(by_rate: Breaker, clock: HandClock) -> None:
    assert state_after(by_rate, [FAILURE] * 20) == "OPEN"
    clock.advance(30)
    assert state_after(by_rate, [SUCCESS, SUCCESS, FAILURE]) == "CLOSED"


def test_a_clock_set_back_ends_the_window(by_rate: Breaker, clock: HandClock) -> None:
    assert state_after(by_rate, [FAILURE] * 19) == "CLOSED"
    clock.advance(-900)
    assert state_after(by_rate, [SUCCESS] + [FAILURE] * 19) == "CLOSED"


def test_it_opens_when_four_fifths_were_slow(by_rate: Breaker) -> None:
    assert state_after(by_rate, [SLOW] * 15 + [SUCCESS] * 4) == "CLOSED"
    assert state_after(by_rate, [SLOW]) == "OPEN"


def test_less_than_four_fifths_of_slow_calls_is_not_enough(by_rate: Breaker) -> None:
    assert state_after(by_rate, [SLOW] * 15 + [SUCCESS] * 5 + [SLOW, SUCCESS] * 20) == "CLOSED"


def test_nothing_is_slow_unless_it_is_set(store: MemoryStore) -> None:
    breaker = Breaker("llama", store, msgspec.structs.replace(POLICY, slow=0))
    assert state_after(breaker, [Outcome(Verdict.SUCCESS, first_token_seconds=1e6)] * 30) == "CLOSED"
    assert list(store.scan("")) == []


def test_a_probe_that_is_slow_opens_again(breaker: Breaker, clock: HandClock) -> None:
    trip(breaker)
    clock.advance(30)
    assert state_after(breaker, [SLOW]) == "OPEN"
    assert breaker.status().failures == POLICY.max_failures


#: Everything at once: a share of calls opens it as well as a few failures in a row, and two successes close.
ALL = msgspec.structs.replace(TWICE, max_failures=15)


class BreakerMachine(RuleBasedStateMachine):
    """Calls begin and end in any order, with any verdict, while time passes. The model keeps whole
    seconds, plain variables, and of the window a list of all that ended in it."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = HandClock()
        self.store = MemoryStore(self.clock)
        self.breaker = Breaker("m", self.store, ALL)
        self.now = self.denied = 0
        self.phase, self.failures, self.until, self.era = "CLOSED", 0, 0.0, 0
        self.reopened = self.successes = 0
        self.began: int | None = None
        self.ended: list[tuple[bool, bool]] = []
        self.open: list[tuple[BreakerPermit, int, float]] = []

    @rule(seconds=st.sampled_from([1, 5, 9, 11, 12, 29, 30, 31, 100]))
    def pass_time(self, seconds: int) -> None:
        self.now += seconds
        self.clock.advance(seconds)

    @rule()
    def begin(self) -> None:
        try:
            permit = go(self.breaker)
        except CircuitOpen:
            assert self.phase != "CLOSED"
            assert self.now < self.until
        else:
            lease = 0.0
            if self.phase != "CLOSED":
                assert self.now >= self.until
                self.era += self.phase == "OPEN"
                self.phase = "HALF_OPEN"
                self.until = lease = self.now + 12
            self.open.append((permit, self.era, lease))

    @precondition(lambda self: self.open)
    @rule(data=st.data(), verdict=st.sampled_from(Verdict), slow=st.booleans())
    def end(self, data: st.DataObject, verdict: Verdict, slow: bool) -> None:
        permit, era, lease = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        slow = slow and verdict is Verdict.SUCCESS
        self.settle(permit, verdict, slow)
        if era == self.era:
            self.count(verdict, slow, lease)

    @precondition(lambda self: self.phase == "CLOSED")
    @rule(
        count=st.integers(5, 15),
        verdict=st.sampled_from([Verdict.SUCCESS, Verdict.FAILURE]),
        slow=st.booleans(),
    )
    def many(self, count: int, verdict: Verdict, slow: bool) -> None:
        permits = [(go(self.breaker), self.era) for _ in range(count)]
        for permit, era in permits:
            self.settle(permit, verdict, slow)
            if era == self.era:
                self.count(verdict, slow, 0)

    def settle(self, permit: BreakerPermit, verdict: Verdict, slow: bool) -> None:
        # A pause of 0 s keeps the jitter out of the model; that pauses work is tested above.
        zero = (
            throttled(0)
            if verdict is Verdict.THROTTLED
            else Outcome(verdict, first_token_seconds=2.5 if slow else 1.5)
        )
        permit.settle(zero)

    def count(self, verdict: Verdict, slow: bool, lease: float) -> None:
        """Apply the end of a call of this generation to the model."""
        failed = verdict is Verdict.FAILURE
        if verdict is Verdict.CREDENTIAL_REFUSED and self.now >= self.denied:
            self.denied = self.now + 60
        if verdict is Verdict.SUCCESS:
            self.denied = 0
        self.failures += failed
        if self.phase == "HALF_OPEN":
            return self.probed(verdict, failed or slow, lease)
        if verdict is Verdict.SUCCESS:
            self.failures = 0
        if verdict not in (Verdict.SUCCESS, Verdict.FAILURE):
            return None
        if self.began is None or self.now >= self.began + 10:
            self.began, self.ended = (self.now, []) if failed or slow else (None, [])
        if self.began is not None:
            self.ended.append((failed, slow))
        shares = [sum(ended) / len(self.ended) for ended in zip(*self.ended, strict=True)] or [0, 0]
        by_share = len(self.ended) >= 20 and (shares[0] >= 0.5 or shares[1] >= 0.8)
        if self.failures >= 15 or by_share:
            self.change("OPEN", self.now + 30)
        return None

    def probed(self, verdict: Verdict, bad: bool, lease: float) -> None:
        if bad:
            self.reopened += 1
            self.change("OPEN", self.now)
            # Only how long, within its bounds, is taken from what is tested.
            wait = (State(*self.store.read("breaker:m") or ()).until - self.store.now()) / SECOND
            assert 48 <= wait <= 72
            self.until = self.now + wait
            return
        self.successes += verdict is not Verdict.IGNORED
        if self.successes == 2:
            self.reopened = self.failures = 0
            self.change("CLOSED", 0)
        elif self.until == lease:
            self.until = self.now

    def change(self, phase: str, until: float) -> None:
        self.phase, self.until, self.era = phase, until, self.era + 1
        self.successes, self.began, self.ended = 0, None, []

    @invariant()
    def the_status_is_the_models(self) -> None:
        status = self.breaker.status()
        assert (status.state, status.failures) == (self.phase, self.failures)
        assert status.credential_refused == (self.now < self.denied)


TestBreakerMachine = BreakerMachine.TestCase
TestBreakerMachine.settings = settings(
    max_examples=examples(300, 2000), stateful_step_count=20, deadline=None
)
