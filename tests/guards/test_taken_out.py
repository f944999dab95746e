"""An operator takes an upstream out, puts it back, and forgets its failures."""

from __future__ import annotations

import pytest
from kit.breakers import FAILURE, POLICY, REFUSED, SUCCESS, go, throttled, trip
from kit.stores import HandClock

from flask_gateway.guards.breaker import Breaker
from flask_gateway.guards.breaker_state import State
from flask_gateway.guards.taken_out import LONGEST_OUT, out_left
from flask_gateway.model.errors import CircuitOpen, UpstreamTakenOut
from flask_gateway.state.memory import MemoryStore
from flask_gateway.state.store import SECOND


@pytest.fixture
def breaker(store: MemoryStore) -> Breaker:
    return Breaker("llama", store, POLICY)


def test_an_upstream_that_is_taken_out_gets_no_call_until_the_time_is_over(
    breaker: Breaker, clock: HandClock
) -> None:
    before = go(breaker)
    breaker.take_out(600)
    with pytest.raises(UpstreamTakenOut) as refused:
        go(breaker)
    assert refused.value.retry_after == 600
    assert "operator has taken upstream 'llama' out" in refused.value.message
    before.settle(SUCCESS)  # the call in flight goes on
    assert breaker.status().taken_out == 600
    clock.advance(600)
    go(breaker).settle(SUCCESS)
    assert breaker.status().taken_out == 0


def test_putting_back_ends_it_at_once(breaker: Breaker) -> None:
    breaker.take_out(600)
    breaker.take_out(0)
    go(breaker)
    assert breaker.status().retry_after is None


def test_nothing_that_calls_do_puts_it_back(breaker: Breaker, clock: HandClock) -> None:
    permits = [go(breaker) for _ in range(10)]
    breaker.take_out(20 * 3600)
    for permit, outcome in zip(permits, [FAILURE] * 4 + [SUCCESS, throttled(5.0), REFUSED] * 2, strict=True):
        permit.settle(outcome)
    breaker.try_now()
    breaker.forget()
    for _ in range(19):
        clock.advance(3600)
        with pytest.raises(UpstreamTakenOut):
            go(breaker)


def test_no_upstream_is_taken_out_for_longer_than_a_day(breaker: Breaker, clock: HandClock) -> None:
    breaker.take_out(1e9)
    assert breaker.status().taken_out == LONGEST_OUT / SECOND
    clock.advance(24 * 3600)
    go(breaker)


def test_a_clock_that_was_set_back_does_not_prolong_it() -> None:
    assert out_left(10**15, 10**15 - LONGEST_OUT) == LONGEST_OUT
    assert out_left(10**15, 10**15 - LONGEST_OUT - 1) == 0
    assert out_left(10**15, 10**15) == 0


def test_forgetting_closes_the_circuit_and_late_failures_do_not_count(breaker: Breaker) -> None:
    late = [go(breaker) for _ in range(POLICY.max_failures)]
    trip(breaker)
    with pytest.raises(CircuitOpen):
        go(breaker)
    breaker.forget()
    for permit in late:
        permit.settle(FAILURE)
    assert (breaker.status().state, breaker.status().failures) == ("CLOSED", 0)


def test_forgetting_ends_pauses_and_a_refused_credential(breaker: Breaker) -> None:
    go(breaker).settle(REFUSED)
    go(breaker).settle(throttled(30.0))
    breaker.forget()
    go(breaker)
    assert not breaker.status().credential_refused
    assert breaker.status().paused_models == 0


def test_forgetting_nothing_writes_nothing(breaker: Breaker, store: MemoryStore) -> None:
    breaker.forget()
    assert list(store.scan("")) == []


def test_a_value_of_another_layout_counts_as_none(breaker: Breaker, store: MemoryStore) -> None:
    old = (1, 5, 3, 10**12, *[0] * (len(State._fields) - 5))  # one field less, as older code wrote it
    store.update("breaker:llama", lambda value, now: (old, None), 60)
    go(breaker)
    assert breaker.status().failures == 0
