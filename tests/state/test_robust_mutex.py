"""Tests the mutexes of the shared memory: holders that are killed or stopped."""

from __future__ import annotations

import errno
import os
import random
import signal
import threading
import time

import pytest
from kit.shared_memory import Flags, crowd
from kit.stores import Child, HandClock, increment, keep, put
from kit.waiting import until

from flask_gateway.state import (
    StoreBusy,
    robust_mutex,
    shm_table,
)
from flask_gateway.state.fallback import FallbackStore
from flask_gateway.state.memory import MemoryStore
from flask_gateway.state.shared_memory import Memory, SharedStore
from flask_gateway.state.shm_table import SlotAddress, slot_address


@pytest.fixture
def store(clock: HandClock) -> SharedStore:
    return SharedStore(Memory(), clock)


def hold(store: SharedStore, key: str, inside) -> None:
    """Run ``inside`` in a change of ``key`` while the mutex is held: on its second run, after another
    writer has made the first one void."""
    runs = []

    def change(old, now):
        runs.append(old)
        if len(runs) == 1:
            store.update(key, increment, 60)
        else:
            inside()
        return (-1,), None

    store.update(key, change, 60)
    assert len(runs) == 2


# ---------------------------------------------------------------- a worker is killed


def test_a_holder_killed_inside_its_change_delays_nobody_and_changes_nothing(store: SharedStore) -> None:
    store.update("key", put((41,)), 60)
    inside = Flags()

    def work() -> None:
        def sleep() -> None:
            inside[0] = 1
            time.sleep(60)

        hold(store, "key", sleep)

    with Child(work) as child:
        assert until(lambda: inside[0])
        child.kill()
        begun = time.monotonic()
        assert store.update("key", increment, 60) == 43  # 42 was the other writer's
        assert time.monotonic() - begun < 5


def _just_taken(store: SharedStore, place: SlotAddress, slot: int, body: bytes) -> None:
    """Killed in the gap between taking the mutex and anything else."""


def _half_filled(store: SharedStore, place: SlotAddress, slot: int, body: bytes) -> None:
    seen = store._slots.read_locked(place, store.now)
    _, _, into = store._slots.spans(*seen[:2], 200)
    store._slots.memory[into] = os.urandom(200)


def _filled(store: SharedStore, place: SlotAddress, slot: int, body: bytes) -> None:
    seen = store._slots.read_locked(place, store.now)
    _, _, into = store._slots.spans(*seen[:2], 4 + len(body))
    store._slots.memory[into] = shm_table.seal(body, seen[1] + 1)


def _forgotten_by_half(store: SharedStore, place: SlotAddress, slot: int, body: bytes) -> None:
    store._slots.words[store._slots._at(slot) >> 3] += 1


def _written(store: SharedStore, place: SlotAddress, slot: int, body: bytes) -> None:
    """Killed in the gap between the write and releasing the mutex."""
    store._slots._write(slot, body)


@pytest.mark.parametrize(
    ("step", "left"),
    [
        (_just_taken, (7,)),
        (_half_filled, (7,)),
        (_filled, (7,)),
        (_forgotten_by_half, None),
        (_written, (8,)),
    ],
)
def test_a_writer_killed_at_any_step_leaves_the_old_or_the_new_value(store: SharedStore, step, left) -> None:
    store.update("key", put((7,)), 60)
    place = slot_address("key")
    slot = store._slots._find(place.digest, place.bucket)

    def work() -> None:
        store._mutexes.take(place.bucket)
        step(store, place, slot, shm_table.body_of(place, (8,), store.now() + 60_000_000))
        os.kill(os.getpid(), signal.SIGKILL)

    assert Child(work).wait() == -signal.SIGKILL
    assert store.read("key") == left
    begun = time.monotonic()
    count = store.update("key", increment, 60)
    assert time.monotonic() - begun < 5
    assert count == (left[0] if left else 0) + 1


def test_a_writer_killed_before_the_index_entry_of_a_new_key_leaves_nothing(store: SharedStore) -> None:
    place = slot_address("key")

    def work() -> None:
        store._mutexes.take(place.bucket)
        slot = store._slots._vacancy(place.bucket, store.now())
        store._slots._write(slot, shm_table.body_of(place, (8,), store.now() + 60_000_000))
        os.kill(os.getpid(), signal.SIGKILL)

    Child(work).wait()
    assert store.read("key") is None
    assert store.update("key", increment, 60) == 1
    assert list(store.scan("")) == [("key", (1,))]


def test_kill_9_at_random_moments_loses_no_acknowledged_change() -> None:
    """Each child counts in one key and, after that, in memory of its own: they differ by one at most."""
    store, done = SharedStore(Memory()), Flags()

    def work(number: int) -> None:
        while True:
            store.update("key", increment, 60)
            done[number] += 1

    dice = random.Random(1)
    for round_ in range(20):
        children = [Child(lambda n=2 * round_ + n: work(n)) for n in range(2)]
        time.sleep(dice.uniform(0.005, 0.03))
        for child in children:
            child.kill()
        begun = time.monotonic()
        (count,) = store.read("key") or (0,)
        assert store.update("key", keep, 60) == ((count,) if count else None)
        store.update("other", increment, 60)
        assert time.monotonic() - begun < 5
    acknowledged = sum(done[n] for n in range(40))
    assert acknowledged > 100
    assert acknowledged <= count <= acknowledged + 40


def test_the_mutexes_of_dead_threads_are_released_too(store: SharedStore) -> None:
    place = slot_address("key")
    thread = threading.Thread(target=store._mutexes.take, args=(place.bucket,))
    thread.start()
    thread.join()
    assert store.update("key", increment, 60) == 1


def test_only_the_owner_can_release(store: SharedStore) -> None:
    """There is no double release: not by the owner, not by another thread, not by another process."""
    mutexes = store._mutexes
    mutexes.take(3)
    thread = threading.Thread(target=lambda: list(mutexes.unlocker(3)))
    thread.start()
    thread.join()
    assert Child(lambda: list(mutexes.unlocker(3))).wait() == 0
    with pytest.raises(StoreBusy):
        mutexes.take(3)
    (released,) = mutexes.unlocker(3)
    assert released == 0
    (released,) = mutexes.unlocker(3)
    assert released == errno.EPERM
    mutexes.take(3)
    with pytest.raises(StoreBusy):
        mutexes.take(3)
    list(mutexes.unlocker(3))


def test_a_signal_handler_that_raises_leaves_no_mutex_locked() -> None:
    """Wherever it strikes: see state/robust_mutex.py on why there is no place between taking and ``try``."""
    store, counted = SharedStore(Memory()), Flags()

    class Struck(Exception):
        pass

    def strike(number: int, frame: object) -> None:
        raise Struck

    def work() -> None:
        signal.signal(signal.SIGALRM, strike)
        over = time.monotonic() + 15
        while counted[1] < 3000 and time.monotonic() < over:
            try:
                signal.setitimer(signal.ITIMER_REAL, random.uniform(20e-6, 100e-6))
                while True:
                    store.update("key", increment, 60)
                    counted[0] += 1
                    store.update("new", increment, 60)
                    store.update("new", put(None), 60)
            except Struck:
                counted[1] += 1

    assert Child(work).wait() == 0
    assert counted[1] > 500
    assert counted[0] <= store.read("key")[0] <= counted[0] + counted[1]


# ---------------------------------------------------------------- a worker is stopped


def test_a_stopped_holder_makes_writers_busy_within_20_ms(store: SharedStore) -> None:
    local = FallbackStore(store, MemoryStore())
    store.update("key", put((7,)), 60)
    neighbour = crowd(slot_address("key").bucket, 1)[0]
    inside = Flags()

    def work() -> None:
        def linger() -> None:
            inside[0] = 1
            assert until(lambda: inside[1])

        hold(store, "key", linger)

    with Child(work) as child:
        assert until(lambda: inside[0])
        child.stop()
        for key in ("key", neighbour):
            begun = time.monotonic()
            with pytest.raises(StoreBusy):
                store.update(key, increment, 60)
            assert 0.015 < time.monotonic() - begun < 5
        assert store.read("key") == (8,)  # readers wait for nobody
        assert store.update("key", keep, 60) == (8,)
        assert store.update("elsewhere", increment, 60) == 1
        assert local.update("key", increment, 60) == 1
        assert local.degraded
        inside[1] = 1
        child.resume()
        assert child.wait() == 0
    assert store.read("key") == (-1,)
    assert local.update("key", increment, 60) == 0


@pytest.mark.skipif(not robust_mutex._GLIBC, reason="only glibc tells who holds a mutex")
def test_writers_wait_longer_for_a_holder_that_only_waits_for_its_turn(store: SharedStore) -> None:
    inside = Flags()

    def work() -> None:
        def wait_for_a_core() -> None:
            inside[0] = 1
            time.sleep(robust_mutex.PATIENCE * 2)

        hold(store, "key", wait_for_a_core)

    with Child(work) as child:
        assert until(lambda: inside[0])
        assert store.update("key", increment, 60) == 0  # after the holder's -1
        assert child.wait() == 0


def test_readers_are_not_affected_by_a_writer_stopped_during_a_write(store: SharedStore) -> None:
    store.update("key", put((7,)), 60)
    place = slot_address("key")
    slot = store._slots._find(place.digest, place.bucket)

    def work() -> None:
        store._mutexes.take(place.bucket)
        _half_filled(store, place, slot, b"")
        os.kill(os.getpid(), signal.SIGSTOP)

    with Child(work) as child:
        os.waitpid(child.pid, os.WUNTRACED)
        assert store.read("key") == (7,)
        assert list(store.scan("")) == [("key", (7,))]
        with pytest.raises(StoreBusy):
            store.update("key", increment, 60)


def test_a_long_pause_is_followed_by_more_tries(store: SharedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that waits for the GIL for longer than ``PATIENCE`` has not seen that the mutex is free."""
    place = slot_address("key")
    free, taken = threading.Event(), threading.Event()

    def hold() -> None:
        store._mutexes.take(place.bucket)
        taken.set()
        free.wait(5)
        (_,) = store._mutexes.unlocker(place.bucket)
        freed.set()

    freed = threading.Event()
    holder = threading.Thread(target=hold)
    holder.start()
    taken.wait(5)

    def long_pause(seconds: float) -> None:
        free.set()
        freed.wait(5)
        threading.Event().wait(0.03)

    monkeypatch.setattr(robust_mutex.time, "sleep", long_pause)
    assert store.update("key", increment, 60) == 1
    holder.join()
