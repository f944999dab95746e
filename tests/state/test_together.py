"""Changes made in one round trip: refusals and trouble first, over Redis and its substitute."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kit.stores import RedisServer

from flask_gateway.guards.leases import AcquireLease, ReleaseLease
from flask_gateway.guards.sliding_window import Acquire
from flask_gateway.state.fallback import FallbackStore
from flask_gateway.state.memory import MemoryStore
from flask_gateway.state.redis import RedisStore
from flask_gateway.state.store import SECOND
from flask_gateway.state.together import StoreUpdate, TogetherStore

URL = "socket_timeout=10&socket_connect_timeout=10"


@pytest.fixture
def store(server: RedisServer) -> Iterator[TogetherStore]:
    server.call("FLUSHALL")
    primary = RedisStore(f"{server.url}?{URL}")
    made = TogetherStore(FallbackStore(primary, MemoryStore(), 2, confirms=True))
    yield made
    made.close()


def steps(slots: int = 2, requests: int = 3) -> list[StoreUpdate]:
    return [
        StoreUpdate("slots:a", AcquireLease(slots, 7), 10),
        StoreUpdate("slots:b", AcquireLease(9, 7), 10),
        StoreUpdate("limit:a", Acquire(requests, 60 * SECOND), 120),
    ]


def made(store: TogetherStore, wanted: list[StoreUpdate]) -> list[object]:
    return [store.update(step.key, step.change, step.ttl) for step in wanted]


def test_a_refusal_writes_nothing(store: TogetherStore) -> None:
    store.update("limit:a", Acquire(1, 60 * SECOND), 120)
    store.prepare(steps(requests=1), admit=True)
    assert store.finish() == []
    assert (store.read("slots:a"), store.read("slots:b")) == (None, None)
    assert store.read("limit:a")[1] == 1


def test_without_redis_nothing_is_prepared(server: RedisServer) -> None:
    away = TogetherStore(FallbackStore(RedisStore("redis://127.0.0.1:1/0"), MemoryStore(), 2, confirms=True))
    for _ in range(2):  # the second time it is known to be away
        away.prepare(steps(), admit=True)
        assert away.finish() == []
    assert made(away, steps())[2][0]
    assert away.degraded
    away.close()


def test_each_guard_finds_its_answer_in_one_round_trip(store: TogetherStore, server: RedisServer) -> None:
    before = server.call("INFO", "commandstats")
    store.prepare(steps(), admit=True)  # brings the script, in the same trip
    first = made(store, steps())
    store.prepare(steps(), admit=True)
    second = made(store, steps())
    after = server.call("INFO", "commandstats")
    for command in ("cmdstat_eval", "cmdstat_evalsha"):
        assert after[command]["calls"] == before.get(command, {"calls": 0})["calls"] + 1
    assert first[0] == second[0] != 0  # the epoch of the same row
    assert [answer[2][1].remaining for answer in (first, second)] == [2, 1]
    assert store.finish() == []
    release = [
        StoreUpdate("slots:a", ReleaseLease(7, first[0], 2), 10),
        StoreUpdate("slots:b", ReleaseLease(7, 5), 10),
    ]
    store.prepare(release, admit=False)
    assert made(store, release) == [True, False]
    assert store.read("slots:a")[2] == 0


def test_changes_that_nothing_has_asked_for_are_named(store: TogetherStore) -> None:
    store.prepare(steps(), admit=True)
    store.update("limit:a", Acquire(3, 60 * SECOND), 120)
    left = store.finish()
    assert [step.key for step, _ in left] == ["slots:a", "slots:b"]
    for step, answer in left:
        store.update(step.key, step.change.undone(answer), step.ttl)
    assert [store.read(key)[2] for key in ("slots:a", "slots:b")] == [0, 0]


def test_the_local_log_counts_and_refuses_too(store: TogetherStore, server: RedisServer) -> None:
    for _ in range(3):
        store.prepare(steps(9), admit=True)
        assert made(store, steps(9))[2][0]
    server.call("FLUSHALL")  # Redis has forgotten; this machine has not
    store.prepare(steps(9), admit=True)
    assert store.finish() == []
    assert not made(store, steps(9))[2][0]


def test_after_a_refusal_changes_are_made_on_a_copy(store: TogetherStore) -> None:
    """The guard that refuses says why, and what was taken before it goes back there."""
    store.update("limit:a", Acquire(1, 60 * SECOND), 120)
    store.prepare(steps(requests=1), admit=True)
    assert store.refused
    assert store.copied("slots:a")
    epoch, other, (admitted, quota) = made(store, steps(requests=1))
    assert (epoch > 0, other > 0, admitted, quota.remaining) == (True, True, False, 0)
    assert store.read("slots:a")[2] == 1
    store.finish()
    assert not store.refused
    assert store.read("slots:a") is None


def test_a_change_that_cannot_refuse_is_made_in_any_case(store: TogetherStore) -> None:
    certain = StoreUpdate("slots:c", AcquireLease(9, 7), 10, refuses=False)
    again = StoreUpdate("slots:c", AcquireLease(1, 7), 10)  # finds what the one before it has written
    store.prepare([certain, again], admit=True)
    assert store.refused
    assert store.read("slots:c")[2] == 1
    step, answer = store.take("slots:c", AcquireLease)
    assert step is certain
    assert answer == store.read("slots:c")[1]
    store.finish()
    assert store.read("slots:c")[2] == 1


def test_an_optional_change_refuses_nothing_and_is_not_made_if_another_refuses(store: TogetherStore) -> None:
    full = StoreUpdate("slots:c", AcquireLease(0, 7), 10, optional=True)
    free = StoreUpdate("slots:d", AcquireLease(9, 7), 10, optional=True)
    store.prepare([full, *steps(), free], admit=True)
    assert not store.refused
    assert store.take("slots:c", AcquireLease)[1] == 0
    assert store.take("slots:d", AcquireLease)[1] == store.read("slots:d")[1]
    store.finish()
    store.update("limit:b", Acquire(1, 60 * SECOND), 120)
    refusing = StoreUpdate("limit:b", Acquire(1, 60 * SECOND), 120)
    store.prepare([free, refusing], admit=True)
    assert store.refused
    assert store.take("slots:d", AcquireLease) is None
    store.finish()
    assert store.read("slots:d")[2] == 1
