"""Tests the contract of all stores with one suite, and compares each store with a model."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule
from kit.stores import HandClock, RedisServer, increment, keep, put

from flask_gateway.state import StoreBusy, StoreError
from flask_gateway.state.fallback import FallbackStore, UnavailableStore
from flask_gateway.state.memory import MemoryStore
from flask_gateway.state.redis import RedisStore
from flask_gateway.state.shared_memory import Memory, SharedStore
from flask_gateway.state.store import Store, StoreStatus

LOWEST, HIGHEST = -(2**63), 2**63 - 1


class Backend(NamedTuple):
    store: Store
    advance: Callable[[float], None]


@pytest.fixture(params=["memory", "shared", "fallback", "redis"])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    clock = HandClock()
    if request.param == "redis":
        server = request.getfixturevalue("server")
        server.call("FLUSHALL")
        made = Backend(RedisStore(f"{server.url}?socket_timeout=5"), time.sleep)
    elif request.param == "memory":
        made = Backend(MemoryStore(clock), clock.advance)
    elif request.param == "shared":
        made = Backend(SharedStore(Memory(), clock), clock.advance)
    else:
        made = Backend(FallbackStore(SharedStore(Memory(), clock), MemoryStore(clock)), clock.advance)
    yield made
    made.store.close()


@pytest.fixture
def store(backend: Backend) -> Store:
    return backend.store


# ---------------------------------------------------------------- what goes wrong


def test_a_change_that_raises_writes_nothing_and_holds_nothing(store: Store) -> None:
    def fail(old, now):
        raise ZeroDivisionError

    store.update("key", put((7,)), 60)
    with pytest.raises(ZeroDivisionError):
        store.update("key", fail, 60)
    assert store.read("key") == (7,)
    assert store.update("key", increment, 60) == 8


@pytest.mark.parametrize(
    "value", [tuple(range(301)), (HIGHEST + 1,), (LOWEST - 1,), (0.5,), ("1",)], ids=lambda v: str(v)[:20]
)
def test_a_value_out_of_bounds_is_refused_and_nothing_is_written(store: Store, value: tuple) -> None:
    store.update("key", put((7,)), 60)
    for key in ("key", "new key"):
        with pytest.raises(ValueError):
            store.update(key, put(value), 60)
    assert store.read("key") == (7,)
    assert store.read("new key") is None


@pytest.mark.parametrize("key", ["", "x" * 121, "ü" * 61])
def test_a_key_out_of_bounds_is_refused(store: Store, key: str) -> None:
    with pytest.raises(ValueError, match="120 bytes"):
        store.update(key, increment, 60)
    with pytest.raises(ValueError, match="120 bytes"):
        store.read(key)


@pytest.mark.parametrize("ttl", [0, -1, 1e-9])
def test_a_lifetime_of_nothing_is_a_short_one(backend: Backend, ttl: float) -> None:
    backend.store.update("key", put((1,)), ttl)
    backend.advance(0.003)
    assert backend.store.read("key") is None


# ---------------------------------------------------------------- what is kept


def test_a_missing_key_reads_as_none(store: Store) -> None:
    assert store.read("key") is None
    assert store.update("key", keep, 60) is None
    assert store.update("key", put(None), 60) is None
    assert store.read("key") is None


@pytest.mark.parametrize(
    "value", [(), (0,), (LOWEST, -1, 0, 1, HIGHEST), tuple(range(-150, 150)), (HIGHEST,) * 300], ids=len
)
def test_values_are_read_as_written(store: Store, value: tuple[int, ...]) -> None:
    store.update("key", put((1, 2, 3)), 60)
    store.update("key", put(value), 60)
    assert store.read("key") == value
    assert store.update("key", keep, 60) == value


def test_the_change_sees_what_is_there_and_its_answer_comes_back(store: Store) -> None:
    assert [store.update("key", increment, 60) for _ in range(5)] == [1, 2, 3, 4, 5]


def test_keys_are_independent(store: Store) -> None:
    keys = ["a", "A", "a ", " a", "a\0", "ü", "u\u0308", "x" * 120, "x" * 119, *map(str, range(300))]
    for number, key in enumerate(keys):
        store.update(key, put((number,)), 60)
    for key in keys[::2]:
        store.update(key, put(None), 60)
    assert [store.read(key) for key in keys[::2]] == [None] * len(keys[::2])
    assert [store.read(key) for key in keys[1::2]] == [(n,) for n in range(1, len(keys), 2)]


def test_none_deletes_the_key_and_it_can_be_written_again(store: Store) -> None:
    for _ in range(3):
        assert store.update("key", increment, 60) == 1
        store.update("key", put(None), 60)
        assert store.read("key") is None


# ---------------------------------------------------------------- time


def test_a_key_expires_after_its_lifetime(backend: Backend) -> None:
    store = backend.store
    store.update("short", put((1,)), 0.05)
    store.update("long", put((2,)), 60)
    assert store.read("short") == (1,)
    backend.advance(0.06)
    assert store.read("short") is None
    assert store.update("short", increment, 60) == 1
    assert store.read("long") == (2,)


def test_each_write_starts_a_new_lifetime(backend: Backend) -> None:
    for _ in range(3):
        backend.store.update("key", increment, 0.3)
        backend.advance(0.2)
    assert backend.store.read("key") == (3,)


def test_unchanged_is_not_written(backend: Backend) -> None:
    """Seen by the lifetime, which only a write would have prolonged."""
    backend.store.update("key", put((1,)), 0.05)
    assert backend.store.update("key", keep, 60) == (1,)
    backend.advance(0.06)
    assert backend.store.read("key") is None


def test_the_change_gets_the_time_of_the_store(backend: Backend) -> None:
    store = backend.store

    def tell(old, now):
        return (now,), now

    before = store.update("key", tell, 60)
    assert abs(store.now() - before) < 100_000
    backend.advance(0.05)
    assert 40_000 < store.update("key", tell, 60) - before < 1_000_000
    assert abs(store.now() - store.read("key")[0]) < 100_000


# ---------------------------------------------------------------- many


def test_threads_lose_no_change(store: Store) -> None:
    """Busy means that nothing was written, so it may be tried again."""

    def one(key: str) -> None:
        while True:
            with contextlib.suppress(StoreBusy):
                store.update(key, increment, 60)
                return

    def work(number: int) -> None:
        for key in (f"own {number}", "common") * 100:
            one(key)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.read("common") == (600,)
    assert [store.read(f"own {n}") for n in range(6)] == [(100,)] * 6


def test_scan_gives_the_live_keys_of_a_prefix(backend: Backend) -> None:
    store = backend.store
    kept = {f"breaker:{n}": (n, -n) for n in range(600)}
    for key, value in {**kept, "break": (1,), "limit:1": (2,), "xbreaker:1": (3,)}.items():
        store.update(key, put(value), 60)
    store.update("breaker:gone", put((1,)), 60)
    store.update("breaker:gone", put(None), 60)
    store.update("breaker:old", put((1,)), 0.01)
    backend.advance(0.02)
    found = list(store.scan("breaker:"))
    assert dict(found) == kept
    assert len(found) == len(kept)
    assert len(list(store.scan(""))) == len(kept) + 3
    assert list(store.scan("nothing")) == []


@pytest.mark.parametrize("prefix", ["a*", "a?", "[a-b]", "a\\", "^a", "ü"])
def test_a_prefix_is_not_a_pattern(store: Store, prefix: str) -> None:
    store.update(prefix + "1", put((1,)), 60)
    store.update("axyz", put((2,)), 60)
    store.update("b", put((3,)), 60)
    assert list(store.scan(prefix)) == [(prefix + "1", (1,))]


# ---------------------------------------------------------------- against a model

# Not the empty one: there is only one of it, so to write it where it stands is to leave it as it is, its
# lifetime too.
VALUES = st.one_of(
    st.none(),
    st.lists(st.integers(LOWEST, HIGHEST), min_size=1, max_size=4).map(tuple),
    st.integers(1, 300).map(lambda count: tuple(range(count))),
)
KEYS = st.one_of(st.sampled_from("abcdefgh"), st.text(min_size=1, max_size=30))


class Model(RuleBasedStateMachine):
    """A dictionary of values and expiries is what a store must look like."""

    keys = Bundle("keys")
    clock: HandClock
    store: Store

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[str, tuple[tuple[int, ...], int]] = {}

    def alive(self, key: str) -> tuple[int, ...] | None:
        value, expiry = self.model.get(key, (None, 0))
        return value if expiry > self.clock() else None

    @rule(target=keys, key=KEYS)
    def name(self, key: str) -> str:
        return key

    @rule(key=keys, value=VALUES, ttl=st.integers(1, 50))
    def write(self, key: str, value: tuple[int, ...] | None, ttl: int) -> None:
        seen = self.store.update(key, lambda old, now: (value, old), ttl)
        assert seen == self.alive(key)
        if value is None and seen is not None:
            del self.model[key]
        elif value is not None:
            self.model[key] = value, self.clock() + ttl * 1_000_000

    @rule(key=keys, ttl=st.integers(1, 50))
    def look(self, key: str, ttl: int) -> None:
        assert self.store.update(key, keep, ttl) == self.alive(key)

    @rule(key=keys)
    def read(self, key: str) -> None:
        assert self.store.read(key) == self.alive(key)

    @rule(prefix=st.sampled_from(["", "a", "ab"]))
    def scan(self, prefix: str) -> None:
        live = {key: self.alive(key) for key in self.model if key.startswith(prefix)}
        assert dict(self.store.scan(prefix)) == {key: v for key, v in live.items() if v is not None}

    @rule(seconds=st.integers(0, 40))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @invariant()
    def tells_time(self) -> None:
        if isinstance(self.clock, HandClock):
            assert self.store.now() == self.clock()


class MemoryModel(Model):
    @initialize()
    def make(self) -> None:
        self.clock = HandClock()
        self.store = MemoryStore(self.clock)


class SharedModel(Model):
    @initialize()
    def make(self) -> None:
        self.clock = HandClock()
        self.store = SharedStore(Memory(), self.clock)


BOUNDS = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestMemoryModel = MemoryModel.TestCase
TestMemoryModel.settings = BOUNDS
TestSharedModel = SharedModel.TestCase
TestSharedModel.settings = BOUNDS


def test_redis_is_like_the_model(server: RedisServer) -> None:
    """Without the passing of time, which cannot be turned by hand there."""

    class RedisModel(Model):
        @initialize()
        def make(self) -> None:
            self.clock = lambda: 0
            self.store = RedisStore(f"{server.url}?socket_timeout=5")
            server.call("FLUSHALL")

        wait = None  # type: ignore[assignment]

        def teardown(self) -> None:
            if hasattr(self, "store"):
                self.store.close()

    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        RedisModel, settings=settings(max_examples=20, stateful_step_count=30, deadline=None)
    )


# ---------------------------------------------------------------- memory's own


def test_memory_is_bounded_and_drops_the_expired_first() -> None:
    clock = HandClock()
    store = MemoryStore(clock, max_keys=160)
    for number in range(1000):
        store.update(f"{number}", increment, 60)
    assert len(list(store.scan(""))) <= 160
    clock.advance(61)
    store.update("fresh", increment, 60)
    assert list(store.scan("")) == [("fresh", (1,))]


def test_a_key_that_expires_during_a_read_is_none() -> None:
    """However often the cache looks at the clock, and whenever the key's time is over."""
    for steps in range(12):
        clock = HandClock()
        store = MemoryStore(lambda clock=clock: (clock.advance(1), clock())[1])
        store.update("key", put((7,)), steps)
        assert store.read("key") in (None, (7,))


@pytest.mark.parametrize("max_keys", [1, 5, 17])
def test_memory_may_be_very_small(max_keys: int) -> None:
    store = MemoryStore(max_keys=max_keys)
    for number in range(50):
        assert store.update(f"{number}", increment, 60) == 1
    assert 1 <= len(list(store.scan(""))) <= max_keys


# ---------------------------------------------------------------- its health


def test_a_store_that_works_is_not_degraded(store: Store) -> None:
    store.update("key", increment, 60)
    assert store.status() == StoreStatus(degraded=False, reason="", local_calls=0)


@pytest.mark.parametrize(
    "broken",
    [
        UnavailableStore("it is gone"),
        FallbackStore(UnavailableStore("it is gone"), MemoryStore()),
        FallbackStore(RedisStore("redis://127.0.0.1:1/0"), MemoryStore()),
    ],
    ids=["unavailable", "fallback", "fallback of Redis"],
)
def test_the_status_of_a_broken_store_says_why_and_never_raises(broken: Store) -> None:
    with contextlib.suppress(StoreError):
        broken.update("key", increment, 60)
    status = broken.status()
    assert (status.degraded, status.reason != "") == (True, True)
    assert status.local_calls == isinstance(broken, FallbackStore)


def test_the_rest_of_the_gateway_asks_the_protocol_and_no_class() -> None:
    root = Path(__file__).parents[2] / "flask_gateway"
    outside = [path for path in root.rglob("*.py") if path.parent.name != "state"]
    assert [path.name for path in outside if "FallbackStore" in path.read_text()] == []
