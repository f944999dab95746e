"""Tests the circuit breaker: its transitions one by one, then random sequences against a plain model."""

from __future__ import annotations

import logging

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from kit.calls import make_call
from kit.stores import HandClock

from flask_gateway.dialects.error_mapping import error_for
from flask_gateway.guards.breaker import Breaker, BreakerPermit
from flask_gateway.guards.breaker_state import Policy, State
from flask_gateway.model.call import Outcome
from flask_gateway.model.errors import (
    CircuitOpen,
    GatewayError,
    UpstreamBackingOff,
    UpstreamError,
    UpstreamThrottled,
    Verdict,
)
from flask_gateway.state.memory import MemoryStore
from flask_gateway.state.store import SECOND

POLICY = Policy(max_failures=3, reset=30 * SECOND, lease=12 * SECOND, slow=2 * SECOND)
#: One that a few failures in a row do not open, but their share does.
BY_RATE = msgspec.structs.replace(POLICY, max_failures=20)
TWICE = msgspec.structs.replace(POLICY, successes=2)

SUCCESS = Outcome(Verdict.SUCCESS)
FAILURE = Outcome(Verdict.FAILURE)
SLOW = Outcome(Verdict.SUCCESS, first_token_seconds=2.5)
REFUSED = Outcome(Verdict.CREDENTIAL_REFUSED, error=error_for(401, {}, b"", "llama"))
IGNORED = Outcome(Verdict.IGNORED)
REJECTED = Outcome(Verdict.REJECTED)


def throttled(seconds: float | None) -> Outcome:
    error = UpstreamThrottled("slow down", status=429, error_object={}, retry_after=seconds)
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


# ------------------------------------------------------------------ how many of the last ten seconds


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


# ------------------------------------------------------------------ our credential


def test_a_refused_credential_is_noted_for_a_minute(breaker: Breaker, clock: HandClock) -> None:
    assert not breaker.denied
    go(breaker).settle(REFUSED)
    assert (breaker.denied, breaker.status().credential_refused) == (True, True)
    assert (breaker.status().state, breaker.status().retry_after) == ("CLOSED", None)
    clock.advance(59.9)
    assert breaker.denied
    clock.advance(0.1)
    assert not breaker.denied


def test_a_success_clears_it(breaker: Breaker) -> None:
    for outcome in (REFUSED, REJECTED, FAILURE):
        go(breaker).settle(outcome)
    assert breaker.denied
    go(breaker).settle(SUCCESS)
    assert not breaker.denied


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


def test_a_clock_set_back_forgets_it(breaker: Breaker, clock: HandClock) -> None:
    go(breaker).settle(REFUSED)
    clock.advance(-3600)
    assert not breaker.denied


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
TestBreakerMachine.settings = settings(max_examples=2000, stateful_step_count=20, deadline=None)
