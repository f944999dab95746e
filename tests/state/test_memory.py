"""Tests the store of one process: bounds, expiry, and that a change that fails writes nothing."""

from __future__ import annotations

import threading

import pytest
from kit.stores import HandClock, increment, put

from flask_gateway.state.memory import MemoryStore
from flask_gateway.state.store import Value


def test_a_value_that_no_store_can_keep_is_refused_and_the_old_one_stays(store: MemoryStore) -> None:
    store.update("key", put((1,)), 60)
    with pytest.raises(ValueError):
        store.update("key", put((1 << 70,)), 60)
    with pytest.raises(ZeroDivisionError):
        store.update("key", lambda old, now: 1 // 0, 60)
    assert store.read("key") == (1,)


def test_a_key_expires_its_time_after_its_last_write(store: MemoryStore, clock: HandClock) -> None:
    store.update("key", put((1,)), 10)
    clock.advance(9)
    store.update("key", put((2,)), 10)
    clock.advance(9)
    assert store.read("key") == (2,)
    clock.advance(1.1)
    assert store.read("key") is None
    assert list(store.scan("")) == []


def test_a_change_that_returns_the_old_value_prolongs_nothing(store: MemoryStore, clock: HandClock) -> None:
    store.update("key", put((1,)), 10)
    clock.advance(9)
    store.update("key", lambda old, now: (old, None), 10)
    clock.advance(2)
    assert store.read("key") is None


def test_the_number_of_keys_is_bounded(clock: HandClock) -> None:
    store = MemoryStore(clock, max_keys=32)
    for number in range(1000):
        store.update(f"key:{number}", put((number,)), 60)
    assert len(list(store.scan("key:"))) <= 32


def test_no_change_of_several_threads_is_lost(store: MemoryStore) -> None:
    def work() -> None:
        for _ in range(500):
            store.update("key", increment, 60)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    value: Value | None = store.read("key")
    assert value is not None
    assert value[0] == 2000
    assert not store.status().degraded
