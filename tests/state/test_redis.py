"""Tests the store in Redis: changes, connections, lifetimes, and Redis behind a fallback."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from kit.stores import Child, RedisServer, Take, free_port, increment, keep, overtaken, put
from kit.timing import fails, milliseconds, mostly
from kit.waiting import until

from flask_gateway.state import StoreBusy, StoreError
from flask_gateway.state import redis as redis_store
from flask_gateway.state.fallback import FallbackStore
from flask_gateway.state.memory import MemoryStore
from flask_gateway.state.recent_reads import RecentReads
from flask_gateway.state.redis import RedisStore

LIMIT = 10**9


@pytest.fixture
def store(server: RedisServer) -> Iterator[RedisStore]:
    server.call("FLUSHALL")
    store = RedisStore(server.url)
    yield store
    store.close()


def test_foreign_data_under_our_key_reads_as_none(store: RedisStore, server: RedisServer) -> None:
    server.call("SET", "flask_gateway:key", "seven b")
    assert store.read("key") is None
    assert list(store.scan("")) == []
    assert store.update("key", Take(LIMIT), 60) == (True, 1)
    server.call("SET", "flask_gateway:key", "x" * 8 * 301)
    assert store.update("key", increment, 60) == 1
    server.call("DEL", "flask_gateway:key")
    server.call("LPUSH", "flask_gateway:key", "1")
    for call in (lambda: store.read("key"), lambda: store.update("key", increment, 60)):
        with pytest.raises(StoreError, match="WRONGTYPE"):
            call()


def test_a_script_with_a_fault_is_a_store_error(store: RedisStore) -> None:
    class Faulty(Take):
        script = "return nonsense.at_all"

    with pytest.raises(StoreError, match="nonsense"):
        store.update("key", Faulty(1), 60)


def test_too_many_connections_are_busy(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(redis_store._OPTIONS, "max_connections", 1)
    store = RedisStore(server.url)
    held = store._client.connection_pool.get_connection()
    with pytest.raises(StoreBusy):
        store.update("key", increment, 60)
    store._client.connection_pool.release(held)
    store.update("key", increment, 60)


def test_a_remembered_read_may_expire_during_the_lookup(store: RedisStore) -> None:
    for steps in range(1, 12):
        moments = iter(range(1000))
        store._recent = RecentReads(steps, clock=lambda moments=moments: next(moments))
        store.update("key", increment, 60)
        assert [store.read("key") for _ in range(4)] == [(steps,)] * 4


def test_a_key_that_others_always_change_is_busy_within_200_ms(store: RedisStore) -> None:
    def change(old, now):
        store.update("key", Take(LIMIT), 60)
        return (-1,), None

    def attempt() -> None:
        with pytest.raises(StoreBusy):
            store.update("key", change, 60)

    assert mostly(attempt, 200) < 200
    assert store.read("key")[0] > 0


@pytest.mark.parametrize("url", ["redis://127.0.0.1:port/0", "redis://127.0.0.1:1/?socket_timeout=soon"])
def test_a_url_that_cannot_be_parsed_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        RedisStore(url)


# ---------------------------------------------------------------- behind a fallback


def test_an_outage_costs_one_timeout_then_nothing_and_ends_by_itself(victim: RedisServer) -> None:
    store = FallbackStore(RedisStore(victim.url), MemoryStore(), share=4)
    take = Take(40)
    for _ in range(5):
        store.update("key", take, 60)
    victim.freeze()
    assert 40 < milliseconds(lambda: store.update("key", take, 60)) < 500
    begun, taken = time.monotonic(), 1
    took: list[float] = []
    while time.monotonic() - begun < 1.5:
        took.append(milliseconds(lambda: store.update("other", increment, 60)))
        taken += store.update("key", take, 60)[0]
        time.sleep(0.001)
    assert sorted(took)[len(took) // 2] < 5
    assert sum(one > 40 for one in took) <= 3  # the machine's own hiccups; a timeout takes 50
    assert taken == 10  # this machine's share
    victim.thaw()
    began = time.monotonic()
    assert until(lambda: store.update("key", take, 60)[1] > 10 or not store.degraded, 3)
    back = time.monotonic() - began
    assert back < 2
    assert until(lambda: not store.degraded, 3)
    assert 5 <= store.update("key", Take(LIMIT), 60)[1] <= 40


def test_redis_dead_from_the_start_then_there(victim: RedisServer) -> None:
    victim.kill()
    store = FallbackStore(RedisStore(victim.url), MemoryStore())
    assert store.update("key", increment, 60) == 1
    assert store.now() > 0
    assert store.read("key") == (1,)
    assert dict(store.scan("")) == {"key": (1,)}
    victim.start()
    assert until(lambda: not store.degraded, 3)
    assert store.update("key", increment, 60) == 1


def test_a_redis_that_answers_reads_but_refuses_writes_is_not_back(
    victim: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    victim.call("CONFIG", "SET", "maxmemory", "1")
    store = FallbackStore(RedisStore(victim.url), MemoryStore())
    begun = time.monotonic()
    counts = []
    while time.monotonic() - begun < 1.3:
        counts.append(store.update("key", increment, 60))
        time.sleep(0.01)
    assert counts == list(range(1, len(counts) + 1))
    assert "whole again" not in caplog.text
    victim.call("CONFIG", "SET", "maxmemory", "0")
    assert until(lambda: not store.degraded, 3)
    assert until(lambda: "whole again" in caplog.text, 3)  # said by the probe's thread, a moment later


# ---------------------------------------------------------------- the generic way


def test_a_change_that_was_overtaken_runs_again(store: RedisStore) -> None:
    change, seen = overtaken(store, (10,))
    assert store.update("key", change, 60) == 11
    assert seen == [None, (10,)]


def test_a_deletion_that_was_overtaken_runs_again(store: RedisStore) -> None:
    seen = []

    def change(old, now):
        seen.append(old)
        if len(seen) == 1:
            store.update("key", put(()), 60)
        return None, None

    store.update("key", put((1,)), 60)
    store.update("key", change, 60)
    assert seen == [(1,), ()]
    assert store.read("key") is None


def test_every_key_has_a_lifetime_and_our_prefix(store: RedisStore, server: RedisServer) -> None:
    store.update("generic", increment, 60)
    store.update("scripted", Take(LIMIT), 60)
    store.update("brief", increment, 0)
    keys = {b"flask_gateway:generic", b"flask_gateway:scripted"}
    assert set(server.call("KEYS", "*")) - {b"flask_gateway:brief"} == keys
    for key in keys:
        assert 0 < server.call("PTTL", key) <= 60_000
    time.sleep(0.005)
    assert store.read("brief") is None


def test_two_machines_share_and_lose_no_change(server: RedisServer) -> None:
    """Two processes, half of the changes in Lua. Busy means that nothing was written."""
    server.call("FLUSHALL")

    def work() -> None:
        store = RedisStore(server.url)
        for number in range(150):
            while True:
                try:
                    store.update("key", Take(LIMIT) if number % 2 else Take(LIMIT).__call__, 60)
                    break
                except StoreBusy:
                    pass

    children = [Child(work) for _ in range(2)]
    assert [child.wait() for child in children] == [0, 0]
    assert RedisStore(server.url).read("key")[0] == 300


def test_a_store_made_before_a_fork_works_after_it(store: RedisStore) -> None:
    store.update("key", increment, 60)

    def work() -> None:
        assert store.update("key", increment, 60) == 2

    assert Child(work).wait() == 0
    assert store.update("key", keep, 60) == (2,)


def test_a_connection_that_the_server_closed_is_replaced(store: RedisStore, server: RedisServer) -> None:
    store.update("key", increment, 60)
    server.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert store.update("key", increment, 60) == 2


def test_a_closed_port_is_a_store_error() -> None:
    assert fails(lambda: RedisStore(f"redis://127.0.0.1:{free_port()}/0").read("key")) < 100
