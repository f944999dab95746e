"""Tests a Redis that loses state (crash loop, emptied, read before an update) and gateways that share one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from unittest.mock import ANY

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.stores import HandClock, RedisServer, increment, put

from flask_gateway.guards.sliding_window import Acquire, Quota
from flask_gateway.state import StoreError, open_store
from flask_gateway.state.fallback import FallbackStore
from flask_gateway.state.memory import MemoryStore
from flask_gateway.state.redis import RedisStore
from flask_gateway.state.store import SECOND

WINDOW = 10 * SECOND


class Forgetful(MemoryStore):
    """A primary that may be away or empty, with a clock of its own."""

    away = False

    def empty(self) -> None:
        for stripe in self._stripes:
            stripe.kept.clear()

    def read(self, key):  # type: ignore[no-untyped-def]
        if self.away:
            raise StoreError("away")
        return super().read(key)

    def update(self, key, change, ttl):  # type: ignore[no-untyped-def]
        if self.away:
            raise StoreError("away")
        return super().update(key, change, ttl)


@settings(max_examples=200)
@given(
    limit=st.sampled_from([1, 3, 7, 200]),
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("ask"), st.integers(1, 9)),
            st.tuples(st.just("wait"), st.sampled_from([0.1, 1.0, 4.0, 10.0])),
            st.tuples(st.sampled_from(["empty", "go", "come"]), st.just(0)),
        ),
        max_size=40,
    ),
)
def test_one_machine_never_admits_more_than_the_limit_if_the_primary_loses_state(
    limit: int, steps: list[tuple[str, float]]
) -> None:
    here, there, seconds = HandClock(), HandClock(77), HandClock()
    primary = Forgetful(there)
    clock: Callable[[], float] = lambda: seconds() / SECOND  # noqa: E731
    store = FallbackStore(primary, MemoryStore(here), clock=clock, confirms=True)
    store._start_probe = store._probe  # type: ignore[method-assign]
    take, admitted = Acquire(limit, WINDOW), []
    for what, number in steps:
        if what == "ask":
            for _ in range(int(number) * (30 if limit == 200 else 1)):
                if store.update("limit:a", take, 20)[0]:
                    admitted.append(here())
        elif what == "wait":
            for clock_ in (here, there, seconds):
                clock_.advance(number)
        elif what == "empty":
            primary.empty()
        else:
            primary.away = what == "go"
        too_many = [a for a, b in zip(admitted, admitted[limit:], strict=False) if b - a < WINDOW]
        assert too_many == []


def test_calls_admitted_by_the_primary_count_during_and_after_an_outage() -> None:
    primary, seconds = Forgetful(HandClock()), HandClock()
    store = FallbackStore(primary, MemoryStore(HandClock()), clock=lambda: seconds() / SECOND, confirms=True)
    take = Acquire(4, WINDOW)
    assert [store.update("limit:a", take, 20)[1].remaining for _ in range(2)] == [3, 2]
    primary.away = True
    assert store.update("limit:a", take, 20) == (True, Quota(4, 1, WINDOW, 0, ANY))
    primary.away = False
    primary.empty()
    store._probe()
    assert store.update("limit:a", take, 20) == (True, Quota(4, 0, WINDOW, WINDOW, ANY))
    admitted, quota = store.update("limit:a", take, 20)
    assert (admitted, quota.remaining, quota.wait > 0) == (False, 0, True)


def test_a_refusal_is_counted_nowhere() -> None:
    primary, local = Forgetful(HandClock()), MemoryStore(HandClock())
    store = FallbackStore(primary, local, confirms=True)
    take = Acquire(2, WINDOW)
    primary.update("limit:a", take, 20)  # by another machine
    assert [store.update("limit:a", take, 20)[0] for _ in range(3)] == [True, False, False]
    assert local.read("limit:a") == (local.now(), 1)
    primary.empty()
    assert [store.update("limit:a", take, 20)[0] for _ in range(3)] == [True, False, False]
    assert primary.read("limit:a") == (primary.now(), 1)


def test_each_call_answered_from_local_state_is_counted_with_its_reason() -> None:
    reasons: list[str] = []
    primary = Forgetful(HandClock())
    store = FallbackStore(primary, MemoryStore(HandClock()), counted=reasons.append)
    store.update("a", increment, 60)
    primary.away = True
    store.update("a", increment, 60)
    store.read("a")
    assert reasons == ["away", "away"]


# ---------------------------------------------------------------- a real one


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def test_limits_hold_with_a_redis_in_a_crash_loop(server: RedisServer) -> None:
    """It was 1139 of 120: each restart began with nothing, and each outage had a count of its own."""
    stores = [open_store(server.url), open_store(server.url)]
    take, admitted, asked = Acquire(120, 60 * SECOND), 0, 0
    for _ in range(3):
        until = time.monotonic() + 0.3
        while time.monotonic() < until:
            admitted += stores[asked % 2].update("limit:a", take, 120)[0]
            asked += 1
        server.call("FLUSHALL")
        until = time.monotonic() + 0.2
        while time.monotonic() < until:
            admitted += stores[asked % 2].update("limit:a", take, 120)[0]
            asked += 1
        server.kill()
        for store in stores * 60:
            admitted += store.update("limit:a", take, 120)[0]
        server.start()
        for store in stores:
            store._store._probe()  # type: ignore[attr-defined]
    for store in stores:
        store.close()
    assert asked > 240
    assert 120 <= admitted <= 240  # these two share no memory: each is a machine


def test_gateways_with_different_namespaces_share_nothing(server: RedisServer) -> None:
    plain, one, two = (RedisStore(server.url, namespace=name) for name in ("", "one", "two"))
    for store, value in ((plain, 1), (one, 2), (two, 3)):
        store.update("limit:a", put((value,)), 60)
    for store, value in ((plain, 1), (one, 2), (two, 3)):
        assert store.read("limit:a") == (value,)
        assert dict(store.scan("limit:")) == {"limit:a": (value,)}
        store.close()
    names = [b"flask_gateway:limit:a", b"flask_gateway:one/limit:a", b"flask_gateway:two/limit:a"]
    assert sorted(server.call("KEYS", "*")) == names  # type: ignore[call-overload]


def test_a_read_before_an_own_update_is_not_remembered_after_it(server: RedisServer) -> None:
    """A thread has its answer, and is held up before it keeps it."""
    store = RedisStore(server.url, remember=60)
    store.update("key", put((1,)), 60)
    call, answered, go_on = store._call, threading.Event(), threading.Event()

    def held_up(*command: int | str | bytes) -> object:
        answer = call(*command)
        if command[0] == "GET" and not answered.is_set():
            answered.set()
            go_on.wait(5)
        return answer

    store._call = held_up  # type: ignore[method-assign]
    reader = threading.Thread(target=lambda: store.read("key"))
    reader.start()
    answered.wait(5)
    store.update("key", put((2,)), 60)
    go_on.set()
    reader.join()
    assert store.read("key") == (2,)
    assert store._recent._marks == {}
    store.close()


def test_a_failed_read_is_not_remembered(server: RedisServer) -> None:
    store = RedisStore(server.url, remember=60)
    server.kill()
    with pytest.raises(StoreError):
        store.read("key")
    assert store._recent._marks == {}
    store.close()
