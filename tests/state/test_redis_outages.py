"""Tests the store while Redis is in trouble: dead, frozen, full, busy, a replica, restarted."""

from __future__ import annotations

import threading
import time

import pytest
from kit.stores import RedisServer, Take, increment, put
from kit.timing import fails, milliseconds
from kit.waiting import until
from redis.exceptions import ResponseError

from flask_gateway.state import StoreError
from flask_gateway.state.redis import RedisStore

LIMIT = 10**9


def every_call(store: RedisStore):
    return [
        lambda: store.read("key"),
        lambda: store.update("key", increment, 60),
        lambda: store.update("taken", Take(LIMIT), 60),
        lambda: list(store.scan("")),
    ]


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
