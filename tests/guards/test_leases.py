"""Tests the leases in shared memory: they end with their process, no sooner and no later."""

from __future__ import annotations

import os
import random
import threading
import time
from unittest.mock import patch

import pytest
from kit.stores import Child, HandClock
from kit.waiting import until

from flask_gateway.guards import leases
from flask_gateway.guards.leases import LEASE, ConcurrencyLeases
from flask_gateway.state.fallback import FallbackStore
from flask_gateway.state.memory import MemoryStore
from flask_gateway.state.shared_memory import Memory, SharedStore

KEY = "slots:upstream:llama"


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def memory() -> Memory:
    return Memory()


def holder_of(memory: Memory, clock: HandClock, count: int) -> Child:
    """Start a process that takes so many slots and then does nothing: it renews no lease."""
    store = SharedStore(memory, clock)

    def work() -> None:
        slots = ConcurrencyLeases(store)
        for _ in range(count):
            assert slots.acquire(KEY, 100)
        time.sleep(600)

    child = Child(work)
    assert until(lambda: ConcurrencyLeases(store).taken(KEY) == count)
    return child


def test_a_stopped_process_keeps_its_slots_however_long(memory: Memory, clock: HandClock) -> None:
    """With leases that expired after 10 s, 12 of 6 slots were taken."""
    with holder_of(memory, clock, 6) as stopped:
        stopped.stop()
        slots = ConcurrencyLeases(FallbackStore(SharedStore(memory, clock), MemoryStore(clock)))
        for seconds in (LEASE, 600, 3600):
            clock.advance(seconds)
            slots.keep()
            assert not slots.acquire(KEY, 6)
            assert slots.taken(KEY) == 6
        stopped.resume()


def test_the_slots_of_a_killed_process_are_free_at_once(memory: Memory, clock: HandClock) -> None:
    """Even if its parent has not waited for it yet, and no time passes."""
    with holder_of(memory, clock, 6) as killed:
        slots = ConcurrencyLeases(SharedStore(memory, clock))
        assert not slots.acquire(KEY, 6)
        os.kill(killed.pid, 9)
        assert until(lambda: slots._holders.ended(holder(memory, clock)))
        assert [bool(slots.acquire(KEY, 6)) for _ in range(7)] == [True] * 6 + [False]
        assert slots.taken(KEY) == 6


def holder(memory: Memory, clock: HandClock) -> int:
    value = SharedStore(memory, clock).read(KEY)
    assert value is not None
    return value[0]


def test_the_slots_of_the_dead_are_not_counted(memory: Memory, clock: HandClock) -> None:
    with holder_of(memory, clock, 3) as killed:
        killed.kill()
    assert ConcurrencyLeases(SharedStore(memory, clock)).taken(KEY) == 0


def test_rows_of_many_dead_processes_leave_room(
    memory: Memory, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "MAX_ROWS", 6)
    for _ in range(8):
        with holder_of(memory, clock, 1) as killed:
            killed.kill()
    assert ConcurrencyLeases(SharedStore(memory, clock)).acquire(KEY, 1)


def test_a_forked_process_holds_nothing_of_its_parent(memory: Memory, clock: HandClock) -> None:
    """As with ``--preload``: the slots are made before the fork."""
    slots = ConcurrencyLeases(SharedStore(memory, clock))
    assert slots.acquire(KEY, 2)

    def work() -> None:
        epoch = slots.acquire(KEY, 2)
        assert epoch
        assert not slots.acquire(KEY, 2)
        assert slots._keeper.running
        time.sleep(600)

    with Child(work) as child:
        assert until(lambda: slots.taken(KEY) == 2)
        assert not slots.acquire(KEY, 2)
        child.kill()
    assert slots.acquire(KEY, 2)


def test_slots_of_a_fallback_store_expire_there(clock: HandClock) -> None:
    """A fallback store is used rarely: nothing would release a slot that is lost there."""
    local = MemoryStore(clock)
    slots = ConcurrencyLeases(SharedStore(Memory(), clock))
    slots._store = FallbackStore(_Busy(), local)
    assert slots.acquire(KEY, 1)
    clock.advance(LEASE)
    assert ConcurrencyLeases(local).taken(KEY) == 0


class _Busy(MemoryStore):
    def update(self, key, change, ttl):  # type: ignore[no-untyped-def]
        from flask_gateway.state import StoreBusy

        raise StoreBusy("held by another")


# ---------------------------------------------------------------- the keeper


def test_no_slot_is_lost_if_no_thread_can_be_started() -> None:
    store = MemoryStore()
    slots = ConcurrencyLeases(store)
    with patch.object(threading.Thread, "start", side_effect=RuntimeError("can't start new thread")):
        epoch = slots.acquire(KEY, 1)
    assert epoch
    assert not slots._keeper.running
    slots.release(KEY, epoch)
    assert slots.acquire(KEY, 1)
    assert slots._keeper.running


def test_a_release_during_a_renewal_leaves_no_slot_too_few() -> None:
    """In any order: the row is lost, and restored while a slot is released."""
    for order in range(6):
        store = MemoryStore()
        slots = ConcurrencyLeases(store)
        first, second = slots.acquire(KEY, 4), slots.acquire(KEY, 4)
        store.update(KEY, lambda old, now: (None, None), 1)
        steps = _Steps(slots, first, order)
        steps.run()
        assert slots.taken(KEY) >= 1, order
        slots.keep()
        assert slots.taken(KEY) == 1, order
        slots.release(KEY, second)
        slots.keep()
        assert slots.taken(KEY) == 0, order


class _Steps:
    """A release and a renewal at the same time: one runs inside the other's n-th use of the store."""

    def __init__(self, slots: ConcurrencyLeases, epoch: int, order: int) -> None:
        self._slots, self._epoch = slots, epoch
        self._inside, self._before = order % 2, order // 2
        self._update = slots._store.update
        self._uses = 0

    def run(self) -> None:
        outer = [self._slots.keep, lambda: self._slots.release(KEY, self._epoch)]
        inner = outer[1 - self._inside]

        def update(key, change, ttl):  # type: ignore[no-untyped-def]
            self._uses += 1
            if self._uses == 1 and self._before == 0:
                inner()
            answer = self._update(key, change, ttl)
            if self._uses == 1 and self._before:
                inner()
            return answer

        self._slots._store.update = update  # type: ignore[method-assign]
        try:
            outer[self._inside]()
        finally:
            self._slots._store.update = self._update  # type: ignore[method-assign]


def test_a_process_never_holds_more_than_the_limit_however_often_the_store_forgets() -> None:
    store = MemoryStore()
    slots = ConcurrencyLeases(store)
    held: list[int] = []
    for _ in range(500):
        if random.random() < 0.3:
            store.update(KEY, lambda old, now: (None, None), 1)
        if held and random.random() < 0.3:
            slots.release(KEY, held.pop())
        elif epoch := slots.acquire(KEY, 5):
            held.append(epoch)
        assert len(held) <= 5


def test_a_lost_row_is_restored_at_the_next_call() -> None:
    """And not only at the next renewal, for example after a restart of Redis."""
    store = MemoryStore()
    slots, other = ConcurrencyLeases(store), ConcurrencyLeases(store)
    for _ in range(3):
        slots.acquire(KEY, 4)
    store.update(KEY, lambda old, now: (None, None), 1)
    slots.acquire(KEY, 4)
    assert until(lambda: other.taken(KEY) == 4, 2.5)
    assert not other.acquire(KEY, 4)
