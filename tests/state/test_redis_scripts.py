"""Tests the scripts in Redis: Lua and Python do the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kit.stores import RedisServer, Take, increment, put

from flask_gateway.state.redis import RedisStore

LIMIT = 10**9


@pytest.fixture
def store(server: RedisServer) -> Iterator[RedisStore]:
    server.call("FLUSHALL")
    store = RedisStore(f"{server.url}?socket_timeout=5")
    yield store
    store.close()


def test_reads_may_be_remembered_and_own_updates_are_seen_at_once(
    server: RedisServer, store: RedisStore
) -> None:
    forgetful = RedisStore(server.url, remember=60)
    forgetful.update("key", put((1,)), 60)
    assert forgetful.read("key") == (1,)
    store.update("key", put((2,)), 60)
    assert forgetful.read("key") == (1,)
    forgetful.update("key", increment, 60)
    assert forgetful.read("key") == (3,)
    forgetful.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 8), st.booleans()), min_size=1, max_size=10)
)
def test_lua_and_python_do_the_same(server: RedisServer, store: RedisStore, steps) -> None:
    """The same steps: all in Lua, all in Python, and mixed."""
    server.call("FLUSHALL")
    for limit, step, mixed in steps:
        change = Take(limit, step)
        answers = {
            store.update("lua", change, 60),
            store.update("python", change.__call__, 60),
            store.update("mixed", change if mixed else change.__call__, 60),
        }
        assert len(answers) == 1
        values = [store.read(key) for key in ("lua", "python", "mixed")]
        assert len({value and value[0] for value in values}) == 1
        assert (
            max(abs(v[1] - values[0][1]) for v in values if v) < 1_000_000 if values[0] else not any(values)
        )


@pytest.mark.parametrize(
    "value", [(), (0,), (-(2**53), -1, 0, 1, 2**53), tuple(range(-150, 150)), (2**53,) * 300], ids=len
)
def test_lua_reads_and_writes_the_same_bytes_as_python(store: RedisStore, value: tuple[int, ...]) -> None:
    class Copy(Take):
        script = "local value = load() save(value) return {#value, unpack(value)}"

        def answer(self, ints):
            return ints

    store.update("key", put(value), 60)
    assert store.update("key", Copy(0), 60) == (len(value), *value)
    assert store.read("key") == value


def test_the_lua_version_reads_a_missing_key_and_deletes_a_key(store: RedisStore) -> None:
    class Forget(Take):
        script = "local there = load() and 1 or 0 forget() return {there}"

        def answer(self, ints):
            return ints

    assert store.update("key", Forget(0), 60) == (0,)
    store.update("key", put((1,)), 60)
    assert store.update("key", Forget(0), 60) == (1,)
    assert store.read("key") is None


def test_the_lua_version_uses_the_time_of_the_store(store: RedisStore, server: RedisServer) -> None:
    class Now(Take):
        script = "return {now}"

        def answer(self, ints):
            return ints[0]

    seconds, micros = server.call("TIME")
    told = store.update("key", Now(0), 60)
    assert 0 <= told - (seconds * 1_000_000 + micros) < 100_000
    assert abs(store.now() - told) < 30_000
    assert abs(RedisStore(server.url).now() - told) < 100_000


def test_a_lua_change_takes_one_round_trip_and_now_takes_none(store: RedisStore, server: RedisServer) -> None:
    store.update("key", Take(LIMIT), 60)
    before = server.call("INFO", "commandstats")
    for _ in range(50):
        store.update("key", Take(LIMIT), 60)
        store.now()
    after = server.call("INFO", "commandstats")
    sent = {name: after[name]["calls"] - before.get(name, {"calls": 0})["calls"] for name in after}
    assert {name: n for name, n in sent.items() if n >= 10} == {
        "cmdstat_evalsha": 50,
        "cmdstat_time": 50,
        "cmdstat_get": 50,
        "cmdstat_set": 50,
    }
