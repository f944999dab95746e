"""Tests the Redis store: failures of Redis, and changes with a Lua version."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from cachetools import TTLCache
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kit.stores import Child, RedisServer, Take, free_port, increment, keep, overtaken, put
from kit.waiting import until
from redis.exceptions import ResponseError

from flask_gateway.state import StoreBusy, StoreError
from flask_gateway.state import redis as redis_store
from flask_gateway.state.fallback import FallbackStore
from flask_gateway.state.memory import MemoryStore
from flask_gateway.state.redis import RedisStore

LIMIT = 10**9


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """One that no test harms."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def store(server: RedisServer) -> Iterator[RedisStore]:
    server.call("FLUSHALL")
    store = RedisStore(server.url)
    yield store
    store.close()


@pytest.fixture
def victim() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def every_call(store: RedisStore):
    return [
        lambda: store.read("key"),
        lambda: store.update("key", increment, 60),
        lambda: store.update("taken", Take(LIMIT), 60),
        lambda: list(store.scan("")),
    ]


def milliseconds(call) -> float:
    begun = time.monotonic()
    call()
    return (time.monotonic() - begun) * 1000


def mostly(call, bound: float) -> float:
    """The milliseconds it takes. Once more, and once more, if that is too long: others may have had the
    processors."""
    taken = milliseconds(call)
    for _ in range(2):
        if taken >= bound:
            taken = milliseconds(call)
    return taken


def fails(call) -> float:
    def failing() -> None:
        with pytest.raises(StoreError):
            call()

    return mostly(failing, 100)


# ---------------------------------------------------------------- Redis is in trouble


def test_a_dead_redis_is_a_store_error_at_once(victim: RedisServer) -> None:
    fresh, used = RedisStore(victim.url), RedisStore(victim.url)
    for call in every_call(used):
        call()
    victim.kill()
    for call in [*every_call(fresh), fresh.now, *every_call(used)]:
        assert fails(call) < 100


def test_a_frozen_redis_is_a_store_error_within_100_ms(victim: RedisServer) -> None:
    fresh, used = RedisStore(victim.url), RedisStore(victim.url)
    for call in every_call(used):
        call()
    victim.freeze()
    for call in [*every_call(fresh), fresh.now, *every_call(used)]:
        assert fails(call) < 100


def test_after_a_freeze_no_answer_goes_to_the_wrong_call(victim: RedisServer) -> None:
    store = RedisStore(victim.url)
    for number in range(20):
        store.update(f"key {number}", put((number,)), 60)
    victim.freeze()
    for number in range(3):
        fails(lambda n=number: store.read(f"key {n}"))
    victim.thaw()
    for number in range(20):
        assert store.read(f"key {number}") == (number,)


@pytest.mark.parametrize("change", [Take(LIMIT), increment], ids=["scripted", "generic"])
def test_nothing_counts_twice_after_a_pause(victim: RedisServer, change) -> None:
    """Redis counts what was answered, and of what was not each call at most once."""
    store, answered, failed = RedisStore(victim.url), [], []
    over = time.monotonic() + 2.0

    def work() -> None:
        while time.monotonic() < over:
            try:
                answered.append(store.update("key", change, 60))
            except StoreError:
                failed.append(1)
            time.sleep(0.002)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    victim.freeze()
    time.sleep(1.2)
    victim.thaw()
    for thread in threads:
        thread.join(timeout=10)
    assert until(lambda: milliseconds(lambda: store.read("key")) < 50)
    (count, *_) = store.read("key")
    assert answered
    assert failed
    assert len(answered) <= count <= len(answered) + len(failed)
    assert len({str(answer) for answer in answered}) == len(answered)


def test_a_restarted_redis_is_empty_and_learns_the_scripts_again(victim: RedisServer) -> None:
    store = RedisStore(victim.url)
    assert store.update("key", Take(LIMIT), 60) == (True, 1)
    assert store.update("key", Take(LIMIT), 60) == (True, 2)
    victim.kill()
    victim.start()
    assert store.update("key", Take(LIMIT), 60) == (True, 1)
    assert store.update("other", increment, 60) == 1


def test_a_redis_without_memory_refuses_writes_and_changes_nothing(victim: RedisServer) -> None:
    store = RedisStore(victim.url)
    store.update("key", put((7,)), 60)
    victim.call("CONFIG", "SET", "maxmemory", "1")
    for change in (increment, Take(LIMIT)):
        assert fails(lambda c=change: store.update("key", c, 60)) < 100
    victim.call("CONFIG", "SET", "maxmemory", "0")
    assert store.read("key") == (7,)


def test_a_replica_refuses_writes(server: RedisServer, victim: RedisServer) -> None:
    victim.call("REPLICAOF", "127.0.0.1", str(server.port))
    store = RedisStore(victim.url)
    for change in (increment, Take(LIMIT)):
        assert fails(lambda c=change: store.update("key", c, 60)) < 100


def test_a_redis_that_requires_a_password(victim: RedisServer) -> None:
    victim.call("CONFIG", "SET", "requirepass", "open sesame")
    for url in (victim.url, victim.url.replace("//", "//:hunter2@")):
        for call in every_call(RedisStore(url)):
            with pytest.raises(StoreError) as raised:
                call()
            assert "hunter2" not in str(raised.value)
    store = RedisStore(victim.url.replace("//", "//:open%20sesame@"))
    assert store.update("key", increment, 60) == 1


def test_a_busy_redis_is_a_store_error(victim: RedisServer) -> None:
    victim.call("CONFIG", "SET", "lua-time-limit", "1")
    threading.Thread(target=_run_for_ever, args=(victim,), daemon=True).start()
    store = RedisStore(victim.url)
    assert until(lambda: _busy(store))
    for call in every_call(store):
        assert fails(call) < 100
    victim.call("SCRIPT", "KILL")
    assert until(lambda: not _busy(store))


def _run_for_ever(server: RedisServer) -> None:
    with pytest.raises(ResponseError, match="kill"):
        server.call("EVAL", "while true do end", 0)


def _busy(store: RedisStore) -> bool:
    try:
        store.read("key")
    except StoreError:
        return True
    return False


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
        store._read_lately = TTLCache(1024, steps, timer=lambda moments=moments: next(moments))
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


# ---------------------------------------------------------------- the twin


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
