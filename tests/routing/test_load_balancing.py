"""Tests the order of a tier's targets: round robin and least requests."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_gateway.config.schema import Balance
from flask_gateway.routing.load_balancing import Balancer, OwnTurns, least_requests, round_robin
from flask_gateway.routing.routes import MOST_ROUTES, Route, Target
from flask_gateway.state.memory import MemoryStore
from flask_gateway.state.together import TogetherStore

A, B, C = Target("a", "m"), Target("b", "m"), Target("c", "m", 3)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.integers(0, 10**6))
def test_a_weight_is_a_share_of_the_turns(weights: list[int], start: int) -> None:
    tier = tuple(Target(f"u{number}", "m", weight) for number, weight in enumerate(weights))
    first = Counter(round_robin(tier, turn)[0] for turn in range(start, start + sum(weights)))
    assert first == {target: target.weight for target in tier}


@given(st.integers(0, 100))
def test_the_others_follow(turn: int) -> None:
    assert sorted(round_robin((A, B, C), turn)) == [A, B, C]
    assert sorted(least_requests((A, B, C), lambda _: 0)) == [A, B, C]


def test_the_target_with_fewer_requests_leads() -> None:
    busy = {"a": 5, "b": 1}
    assert {least_requests((A, B), busy.__getitem__)[0] for _ in range(50)} == {B}


def test_a_heavier_target_carries_more_requests() -> None:
    busy = {"a": 2, "c": 3}
    assert {least_requests((A, C), busy.__getitem__)[0] for _ in range(50)} == {C}


def test_equal_targets_share_the_load() -> None:
    first = Counter(least_requests((A, B), lambda _: 0)[0] for _ in range(400))
    assert min(first.values()) > 100


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_share_the_round_robin_turns(store: MemoryStore, workers: int) -> None:
    balancers = [Balancer(store, lambda _: 0) for _ in range(workers)]
    route = Route("fast", ((A, B),), Balance.ROUND_ROBIN)
    asked = [next(iter(balancers[turn % workers].ordered(route)))[0].upstream for turn in range(12)]
    assert asked == ["a", "b"] * 6


@pytest.mark.parametrize("workers", [1, 3])
def test_with_redis_each_worker_has_turns_of_its_own(store: MemoryStore, workers: int) -> None:
    """No turn takes a round trip, and each worker is as fair as all of them."""
    balancers = [Balancer(TogetherStore(store), lambda _: 0) for _ in range(workers)]
    route = Route("fast", ((A, C),), Balance.ROUND_ROBIN)
    for balancer in balancers:
        asked = [next(iter(balancer.ordered(route)))[0].upstream for _ in range(40)]
        assert Counter(asked) == {"a": 10, "c": 30}
    assert list(store.scan("")) == []


def test_processes_begin_their_turns_at_random_and_forget_old_routes() -> None:
    begun = [OwnTurns().next("fast") for _ in range(8)]
    assert len(set(begun)) > 1
    turns = OwnTurns()
    for number in range(MOST_ROUTES + 1):
        turns.next(str(number))
    assert len(turns._turns) == 1


def test_a_first_tier_that_is_in_order_already_takes_no_turn(store: MemoryStore) -> None:
    route = Route("fast", ((A, B), (A, C)), Balance.ROUND_ROBIN)
    tiers = list(Balancer(store, lambda _: 0).ordered(route, (B, A)))
    assert tiers[0] == (B, A)
    assert [key for key, _ in store.scan("")] == ["turn:1:fast"]


def test_a_tier_that_is_not_reached_takes_no_turn(store: MemoryStore) -> None:
    route = Route("fast", ((A,), (A, B)), Balance.ROUND_ROBIN)
    next(iter(Balancer(store, lambda _: 0).ordered(route)))
    assert list(store.scan("")) == []
