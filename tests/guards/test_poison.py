"""Tests that one caller's failures do not block others: cases, then random sequences against a model."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from kit.calls import make_call
from kit.stores import HandClock

from flask_gateway.guards.breaker import Breaker, BreakerPermit
from flask_gateway.guards.breaker_state import Policy
from flask_gateway.guards.pauses import MAX_PAUSES
from flask_gateway.model.call import Caller, Outcome
from flask_gateway.model.errors import CircuitOpen, UpstreamBackingOff, UpstreamThrottled, Verdict
from flask_gateway.state.memory import MemoryStore
from flask_gateway.state.shared_memory import SharedStore
from flask_gateway.state.store import SECOND, Store

POLICY = Policy(max_failures=5, reset=30 * SECOND, lease=17 * SECOND)
BY_SHARE = msgspec.structs.replace(POLICY, max_failures=20, slow=2 * SECOND)

GOOD, BAD = Outcome(Verdict.SUCCESS), Outcome(Verdict.FAILURE)
SLOW, LEFT = Outcome(Verdict.SUCCESS, first_token_seconds=2.5), Outcome(Verdict.IGNORED)


@pytest.fixture
def breaker(store: MemoryStore) -> Breaker:
    return Breaker("llama", store, POLICY)


def begin(breaker: Breaker, caller: str) -> BreakerPermit:
    return breaker.admit(make_call(caller=Caller(caller, 0)))


def end(breaker: Breaker, caller: str, *outcomes: Outcome) -> None:
    for outcome in outcomes:
        begin(breaker, caller).settle(outcome)


def refused(breaker: Breaker, caller: str) -> bool:
    try:
        begin(breaker, caller).settle(LEFT)
    except CircuitOpen:
        return True
    return False


def test_failures_of_one_caller_open_the_circuit_for_that_caller_alone(breaker: Breaker) -> None:
    end(breaker, "poison", *[BAD] * 5)
    assert refused(breaker, "poison")
    assert not refused(breaker, "good")
    end(breaker, "good", GOOD)
    assert (breaker.status().state, breaker.status().one_caller) == ("OPEN", True)
    assert breaker.status("poison").state == "OPEN"
    assert breaker.status("good").state == "CLOSED"


def test_the_refusal_says_whose_calls_failed(breaker: Breaker) -> None:
    end(breaker, "poison", *[BAD] * 5)
    with pytest.raises(CircuitOpen, match=r"calls of this key, and only of this key, failed there.* in 30 s"):
        begin(breaker, "poison")


@pytest.mark.parametrize("in_shared_memory", [False, True])
def test_a_minute_of_poison_refuses_no_good_call(in_shared_memory: bool) -> None:
    clock = HandClock()
    store: Store = SharedStore(clock=clock) if in_shared_memory else MemoryStore(clock)
    breaker = Breaker("llama", store, POLICY)
    good = 0
    for _ in range(60):
        poisoned = []
        for _ in range(12):
            try:
                poisoned.append(begin(breaker, "poison"))
            except CircuitOpen:
                break
        end(breaker, "good", GOOD)
        good += 1
        for permit in poisoned:
            permit.settle(BAD)
        end(breaker, "other", GOOD)
        clock.advance(1)
    assert good == 60
    assert not refused(breaker, "third")
    store.close()


def test_slow_calls_of_one_caller_open_it_for_that_caller_alone(store: MemoryStore) -> None:
    breaker = Breaker("llama", store, BY_SHARE)
    end(breaker, "poison", *[SLOW] * 17)
    end(breaker, "good", *[GOOD] * 2)
    assert not refused(breaker, "poison")
    end(breaker, "poison", SLOW)
    assert refused(breaker, "poison")
    assert not refused(breaker, "good")


def test_a_failure_rate_of_one_caller_opens_it_for_that_caller_alone(store: MemoryStore) -> None:
    breaker = Breaker("llama", store, BY_SHARE)
    for _ in range(10):
        end(breaker, "poison", BAD)
        end(breaker, "good", GOOD)
    assert refused(breaker, "poison")
    assert not refused(breaker, "good")


def test_failures_of_several_callers_open_it_for_all(breaker: Breaker) -> None:
    for caller in ("a", "b", "a", "c", "b"):
        end(breaker, caller, BAD)
    assert all(refused(breaker, caller) for caller in ("a", "b", "c", "d"))
    assert breaker.status().one_caller is False


def test_an_upstream_that_is_down_is_closed_to_the_others_after_two_more_failures(breaker: Breaker) -> None:
    end(breaker, "most", *[BAD] * 5)
    end(breaker, "b", BAD)
    assert not refused(breaker, "b")
    end(breaker, "c", BAD)
    assert all(refused(breaker, caller) for caller in ("most", "b", "c", "d"))


def test_after_a_success_of_others_it_takes_max_failures_of_theirs(breaker: Breaker) -> None:
    end(breaker, "poison", *[BAD] * 5)
    end(breaker, "good", GOOD, BAD, BAD, BAD, BAD)
    assert not refused(breaker, "good")
    end(breaker, "good", BAD)
    assert refused(breaker, "third")


def test_a_probe_of_the_refused_caller_does_not_block_others(breaker: Breaker, clock: HandClock) -> None:
    end(breaker, "poison", *[BAD] * 5)
    clock.advance(30)
    probe = begin(breaker, "poison")
    assert refused(breaker, "poison")
    assert not refused(breaker, "good")
    probe.settle(BAD)
    assert refused(breaker, "poison")
    assert not refused(breaker, "good")
    clock.advance(72)
    end(breaker, "poison", GOOD)
    assert breaker.status().state == "CLOSED"


def test_a_bad_probe_of_one_caller_leaves_the_next_to_another(breaker: Breaker, clock: HandClock) -> None:
    for caller in ("a", "b", "c", "d", "e"):
        end(breaker, caller, BAD)
    clock.advance(30)
    end(breaker, "poison", BAD)
    assert refused(breaker, "poison")
    probe = begin(breaker, "good")
    assert refused(breaker, "a")
    probe.settle(GOOD)
    assert not refused(breaker, "a")


def test_bad_probes_of_two_callers_make_all_wait_for_twice_as_long(
    breaker: Breaker, clock: HandClock
) -> None:
    for caller in ("a", "b", "c", "d", "e"):
        end(breaker, caller, BAD)
    clock.advance(30)
    end(breaker, "a", BAD)
    end(breaker, "b", BAD)
    assert all(refused(breaker, caller) for caller in ("a", "b", "c"))
    assert breaker.status().retry_after == pytest.approx(60, rel=0.2)


def test_a_complete_answer_as_probe_blocks_others_only_as_long_as_a_stream(
    store: MemoryStore, clock: HandClock
) -> None:
    policy = msgspec.structs.replace(POLICY, answer_lease=122 * SECOND)
    breaker = Breaker("llama", store, policy)
    for caller in ("a", "b", "c", "d", "e"):
        end(breaker, caller, BAD)
    clock.advance(30)
    begin(breaker, "slow")
    clock.advance(16.9)
    assert refused(breaker, "good")
    clock.advance(0.1)
    assert refused(breaker, "slow")
    end(breaker, "good", GOOD)
    assert not refused(breaker, "slow")


def test_a_single_caller_opens_and_closes_the_circuit(breaker: Breaker, clock: HandClock) -> None:
    end(breaker, "alone", *[BAD] * 4)
    assert not refused(breaker, "alone")
    end(breaker, "alone", BAD)
    assert refused(breaker, "alone")
    clock.advance(30)
    end(breaker, "alone", GOOD)
    assert not refused(breaker, "alone")


def test_the_status_describes_the_failures_of_one_caller(breaker: Breaker) -> None:
    end(breaker, "poison", *[BAD] * 5)
    end(breaker, "good", GOOD, BAD)
    status = breaker.status()
    assert (status.failures, status.others_failures, status.one_caller) == (5, 1, True)
    assert (status.calls, status.failed) == (1, 1)


@settings(max_examples=200, deadline=None)
@given(
    calls=st.lists(
        st.tuples(st.sampled_from(["good", "other", "poison"]), st.sampled_from([BAD, SLOW, LEFT, GOOD])),
        max_size=200,
    ),
    max_failures=st.integers(1, 25),
)
def test_whatever_one_caller_sends_the_others_are_never_refused(
    calls: list[tuple[str, Outcome]], max_failures: int
) -> None:
    clock = HandClock()
    policy = msgspec.structs.replace(BY_SHARE, max_failures=max_failures)
    breaker = Breaker("m", MemoryStore(clock), policy)
    for caller, outcome in calls:
        clock.advance(random.Random(len(calls)).choice([0, 1, 31]))
        try:
            permit = begin(breaker, caller)
        except CircuitOpen:
            assert caller == "poison"
        else:
            permit.settle(outcome if caller == "poison" else GOOD)


@settings(max_examples=200, deadline=None)
@given(callers=st.lists(st.sampled_from("abc"), min_size=40, max_size=40), max_failures=st.integers(1, 9))
def test_an_upstream_that_always_fails_is_closed_to_all_that_call_it(
    callers: list[str], max_failures: int
) -> None:
    breaker = Breaker(
        "m", MemoryStore(HandClock()), msgspec.structs.replace(POLICY, max_failures=max_failures)
    )
    asked = 0
    for caller in callers:
        try:
            permit = begin(breaker, caller)
        except CircuitOpen:
            continue
        permit.settle(BAD)
        asked += 1
    assert asked <= max_failures + 2


# ------------------------------------------------------------------ any sequence


def leader(callers: list[str]) -> tuple[str, int]:
    """Compute a Boyer-Moore vote from its definition."""
    name, lead = "", 0
    for caller in callers:
        if not lead:
            name, lead = caller, 1
        else:
            lead += 1 if caller == name else -1
    return name, lead


class SeveralCallers(RuleBasedStateMachine):
    """Calls of three callers begin and end in any order. The model keeps lists of callers."""

    policy = Policy(max_failures=4, reset=30 * SECOND, lease=12 * SECOND)

    def __init__(self) -> None:
        super().__init__()
        self.clock = HandClock()
        self.breaker = Breaker("m", MemoryStore(self.clock), self.policy)
        self.now, self.era = 0.0, 0
        self.phase, self.only, self.probed, self.until = "CLOSED", "", "", 0.0
        self.row: list[str] = []
        self.others, self.well = 0, False
        self.ended: list[tuple[str, bool]] = []
        self.began: float | None = None
        self.open: list[tuple[BreakerPermit, str, int, float]] = []

    @rule(seconds=st.sampled_from([1, 9, 11, 12, 30, 100]))
    def pass_time(self, seconds: int) -> None:
        self.now += seconds
        self.clock.advance(seconds)

    @rule(caller=st.sampled_from("abc"))
    def begin(self, caller: str) -> None:
        apart = self.only not in ("", caller)
        passes = self.phase == "CLOSED" or apart
        other = self.phase == "OPEN" and not self.only and self.probed not in ("", caller)
        probes = not passes and (self.now >= self.until or other)
        try:
            permit = begin(self.breaker, caller)
        except CircuitOpen:
            assert not passes
            assert not probes
            return
        assert passes or probes
        lease = 0.0
        if probes:
            self.era += self.phase == "OPEN"
            self.phase, self.until = "HALF_OPEN", self.now + 12
            lease = self.until
        self.open.append((permit, caller, self.era, lease))

    @precondition(lambda self: self.open)
    @rule(data=st.data(), outcome=st.sampled_from([GOOD, BAD, BAD, LEFT]))
    def end(self, data: st.DataObject, outcome: Outcome) -> None:
        self.settle(data.draw(st.integers(0, len(self.open) - 1)), outcome)

    @rule(caller=st.sampled_from("abc"), count=st.integers(2, 5))
    def fail(self, caller: str, count: int) -> None:
        """Add several failures at once, so that circuits do open."""
        known = len(self.open)
        for _ in range(count):
            self.begin(caller)
        while len(self.open) > known:
            self.settle(known, BAD)

    def settle(self, place: int, outcome: Outcome) -> None:
        permit, caller, era, lease = self.open.pop(place)
        permit.settle(outcome)
        if era == self.era:
            self.count(caller, outcome, lease)

    def count(self, caller: str, outcome: Outcome, lease: float) -> None:
        apart, bad = self.only not in ("", caller), outcome is BAD
        if self.phase == "HALF_OPEN" and not apart:
            self.probe(caller, outcome, lease)
            return
        if outcome is LEFT:
            return
        if self.began is None or self.now >= self.began + 10:
            self.began, self.ended = (self.now if bad else None), []
        if self.began is not None:
            self.ended.append((caller, bad))
        failed = [who for who, was_bad in self.ended if was_bad]
        share = len(self.ended) >= 20 and 2 * len(failed) >= len(self.ended)
        if apart:
            self.others, self.well = (self.others + 1 if bad else 0), self.well or not bad
            if self.others >= (4 if self.well else 2) or share:
                self.row, self.only = ["?"] * self.others, ""
                self.change("OPEN", self.now + 30)
            return
        self.row = [*self.row, caller] if bad else []
        if len(self.row) >= 4:
            name, lead = leader(self.row)
            self.only = name if 2 * lead > len(self.row) else ""
            self.change("OPEN", self.now + 30)
        elif share:
            name, lead = leader(failed)
            self.only = name if 2 * lead > len(failed) else ""
            self.change("OPEN", self.now + 30)

    def probe(self, caller: str, outcome: Outcome, lease: float) -> None:
        if outcome is BAD:
            self.row.append(caller)
            second = self.probed not in ("", caller)
            self.probed = "" if second or self.only else caller
            self.change("OPEN", 0)
            wait = self.breaker.status().retry_after
            assert wait is not None
            self.until = self.now + wait
        elif outcome is GOOD:
            self.row, self.only, self.probed = [], "", ""
            self.change("CLOSED", 0)
        elif self.until == lease:
            self.until = self.now

    def change(self, phase: str, until: float) -> None:
        self.phase, self.until, self.era = phase, until, self.era + 1
        self.began, self.ended = None, []
        if not self.only:
            self.others, self.well = 0, False

    @invariant()
    def the_status_is_the_models(self) -> None:
        status = self.breaker.status()
        assert (status.state, status.failures) == (self.phase, len(self.row))
        assert status.one_caller == (self.others > 0 or self.well)
        for caller in "abc":
            apart = self.only not in ("", caller)
            assert self.breaker.status(caller).state == ("CLOSED" if apart else self.phase)


TestSeveralCallers = SeveralCallers.TestCase
TestSeveralCallers.settings = settings(max_examples=400, stateful_step_count=25, deadline=None)


# ------------------------------------------------------------------ pauses


def throttled(seconds: float = 20) -> Outcome:
    return Outcome(
        Verdict.THROTTLED,
        error=UpstreamThrottled("slow down", status=429, error_object={}, retry_after=seconds),
    )


def ask(breaker: Breaker, model: str, outcome: Outcome = GOOD) -> None:
    breaker.admit(make_call(model)).settle(outcome)


def is_paused(breaker: Breaker, model: str) -> bool:
    try:
        ask(breaker, model)
    except UpstreamBackingOff:
        return True
    return False


def test_a_429_pauses_the_model_that_it_was_about(breaker: Breaker, clock: HandClock) -> None:
    ask(breaker, "gpt-4o", throttled())
    assert is_paused(breaker, "gpt-4o")
    assert not is_paused(breaker, "gpt-4o-mini")
    clock.advance(23)
    assert not is_paused(breaker, "gpt-4o")


def test_the_message_names_the_model(breaker: Breaker) -> None:
    ask(breaker, "gpt-4o", throttled())
    with pytest.raises(UpstreamBackingOff, match="of the model 'gpt-4o'"):
        ask(breaker, "gpt-4o")


def test_more_models_than_are_remembered_pause_the_upstream(breaker: Breaker, clock: HandClock) -> None:
    for number in range(MAX_PAUSES):
        ask(breaker, f"m{number}", throttled())
    assert not is_paused(breaker, "another")
    ask(breaker, "one-more", throttled())
    assert is_paused(breaker, "another")
    clock.advance(23)
    assert not is_paused(breaker, "another")


def test_pauses_that_are_over_make_room(breaker: Breaker, clock: HandClock) -> None:
    for number in range(10 * MAX_PAUSES):
        ask(breaker, f"m{number}", throttled())
        clock.advance(23)
    assert not is_paused(breaker, "another")


def test_a_429_for_a_call_without_a_model_pauses_the_upstream(breaker: Breaker) -> None:
    ask(breaker, "", throttled())
    assert is_paused(breaker, "gpt-4o")


def test_a_pause_outlasts_an_outage(breaker: Breaker) -> None:
    ask(breaker, "gpt-4o", throttled())
    for caller in "abcde":
        end(breaker, caller, BAD)
    assert refused(breaker, "a")
    assert is_paused(breaker, "gpt-4o")


def test_a_clock_set_back_ends_a_pause(breaker: Breaker, clock: HandClock) -> None:
    ask(breaker, "gpt-4o", throttled())
    clock.advance(-900)
    assert not is_paused(breaker, "gpt-4o")


def test_the_status_is_about_the_model_that_is_asked_for(breaker: Breaker) -> None:
    ask(breaker, "gpt-4o", throttled())
    assert (breaker.status().cooling, breaker.status().paused_models) == (True, 1)
    assert breaker.status(model="gpt-4o").cooling
    assert not breaker.status(model="gpt-4o-mini").cooling


# ------------------------------------------------------------------ looking again


def test_trying_now_makes_the_next_call_the_probe(breaker: Breaker) -> None:
    for caller in "abcde":
        end(breaker, caller, BAD)
    breaker.try_now()
    probe = begin(breaker, "a")
    assert refused(breaker, "b")
    probe.settle(GOOD)
    assert breaker.status().state == "CLOSED"


def test_trying_now_ends_pauses_too(breaker: Breaker) -> None:
    ask(breaker, "gpt-4o", throttled())
    breaker.try_now()
    assert not is_paused(breaker, "gpt-4o")


def test_trying_now_allows_no_second_probe_while_one_is_in_flight(breaker: Breaker) -> None:
    for caller in "abcde":
        end(breaker, caller, BAD)
    breaker.try_now()
    begin(breaker, "a")
    breaker.try_now()
    assert refused(breaker, "b")


def test_other_settings_begin_closed(store: MemoryStore) -> None:
    before, after = (Breaker("llama", store, POLICY, settings=name) for name in ("one", "two"))
    end(before, "a", *[BAD] * 5)
    assert refused(before, "a")
    assert not refused(after, "a")
