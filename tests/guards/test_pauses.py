"""Tests pauses: a 429 pauses the model that it was about, for the time it asks for."""

from __future__ import annotations

import pytest
from kit.several_callers import BAD, POLICY, ask, end, is_paused, refused, throttled
from kit.stores import HandClock

from flask_gateway.guards.breaker import Breaker
from flask_gateway.guards.pauses import MAX_PAUSES
from flask_gateway.model.errors import UpstreamBackingOff
from flask_gateway.state.memory import MemoryStore


@pytest.fixture
def breaker(store: MemoryStore) -> Breaker:
    return Breaker("llama", store, POLICY)


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
