"""Tests a breaker with several callers: the calls of one cannot close an upstream to the others."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.several_callers import (
    BAD,
    GOOD,
    LEFT,
    POLICY,
    SLOW,
    ask,
    begin,
    end,
    is_paused,
    refused,
    throttled,
)
from kit.stores import HandClock

from flask_gateway.guards.breaker import Breaker
from flask_gateway.model.call import Outcome
from flask_gateway.model.errors import CircuitOpen
from flask_gateway.state.memory import MemoryStore
from flask_gateway.state.shared_memory import SharedStore
from flask_gateway.state.store import SECOND, Store

BY_SHARE = msgspec.structs.replace(POLICY, max_failures=20, slow=2 * SECOND)


@pytest.fixture
def breaker(store: MemoryStore) -> Breaker:
    return Breaker("llama", store, POLICY)


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
