"""Tests the store in shared memory: damage, overtaken changes, full buckets, order of times, memory."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kit.needs import lacking, need
from kit.shared_memory import crowd
from kit.stores import HandClock, increment, keep, overtaken, put

from flask_gateway.guards import sliding_window
from flask_gateway.state import (
    StoreFull,
    open_store,
    shared_memory,
    shm_table,
)
from flask_gateway.state.fallback import FallbackStore
from flask_gateway.state.memory import MemoryStore
from flask_gateway.state.shared_memory import Memory, SharedStore
from flask_gateway.state.shm_table import INDEX, SLOT, SLOTS, slot_address


@pytest.fixture
def store(clock: HandClock) -> SharedStore:
    return SharedStore(Memory(), clock)


# ---------------------------------------------------------------- damage

DAMAGE = st.lists(
    st.tuples(
        st.sampled_from(["index", "slot"]), st.integers(0, SLOT - 1), st.binary(min_size=1, max_size=64)
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage=DAMAGE, key=st.sampled_from("ab"))
def test_damage_anywhere_reads_as_empty(store: SharedStore, damage, key: str) -> None:
    """Of the key's bucket: its index and the slot in use, which is the first of each bucket."""
    for name in "ab":
        store.update(name, put((1, 2, 3)), 60)
    bucket, table = slot_address(key).bucket, store._slots
    for where, at, garbage in damage:
        if where == "index":
            begin = table.index + bucket * INDEX + min(at, INDEX - len(garbage))
        else:
            begin = table._at(bucket * SLOTS) + min(at, SLOT - len(garbage))
        table.memory[begin : begin + len(garbage)] = garbage
    assert store.read(key) in (None, (1, 2, 3))
    assert store.update(key, keep, 60) in (None, (1, 2, 3))
    assert {name for name, _ in store.scan("")} <= {"a", "b"}
    store.update(key, put((4,)), 60)
    assert store.read(key) == (4,)
    store.update(key, put(None), 60)
    assert store.read(key) is None


def test_garbage_over_the_whole_memory_is_empty_and_can_be_used_again(store: SharedStore) -> None:
    keys = [f"key {n}" for n in range(200)]
    for key in keys:
        store.update(key, put((1, 2, 3)), 60)
    table = store._slots
    page = os.urandom(1 << 16)
    for at in range(table.index, len(table.memory), len(page)):
        end = min(at + len(page), len(table.memory))
        table.memory[at:end] = page[: end - at]
    assert list(store.scan("")) == []
    assert [store.read(key) for key in keys] == [None] * 200
    for key in keys:
        assert store.update(key, increment, 60) == 1
    assert {store.read(key) for key in keys} == {(1,)}
    assert len(list(store.scan(""))) == 200


def test_a_read_overtaken_by_writers_is_repeated_with_the_mutex(
    store: SharedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a copy that two writes have mixed, or that came in the wrong order."""
    store.update("key", put((7,)), 60)
    monkeypatch.setattr(store._slots, "read_unlocked", lambda place, clock: None)
    assert store.read("key") == (7,)
    assert store.update("key", increment, 60) == 8
    assert store.update("key", keep, 60) == (8,)


# ---------------------------------------------------------------- no room


def test_a_bucket_of_live_keys_is_full(store: SharedStore, clock: HandClock) -> None:
    keys = crowd(5, SLOTS + 1)
    for key in keys[:-1]:
        store.update(key, increment, 60)
    with pytest.raises(StoreFull):
        store.update(keys[-1], increment, 60)
    assert store.read(keys[-1]) is None
    assert store.update(keys[0], increment, 30) == 2
    assert FallbackStore(store, MemoryStore()).update(keys[-1], increment, 60) == 1
    clock.advance(31)
    assert store.update(keys[-1], increment, 60) == 1
    assert store.read(keys[0]) is None
    assert {store.read(key) for key in keys[1:]} == {(1,)}
    store.update(keys[1], put(None), 60)
    assert store.update(keys[0], increment, 60) == 1


def test_a_slot_that_went_to_another_key_is_not_written_over(store: SharedStore, clock: HandClock) -> None:
    """Its slot was found while it had expired, and given away before the mutex was taken."""
    *keys, rival = crowd(5, SLOTS + 1)
    store.update(keys[0], increment, 10)
    for key in keys[1:]:
        store.update(key, increment, 60)
    clock.advance(20)

    def change(old, now):
        assert old is None
        if store.read(rival) is None:
            store.update(rival, put((77,)), 60)
        return (1,), None

    with pytest.raises(StoreFull):
        store.update(keys[0], change, 60)
    assert store.read(rival) == (77,)
    assert store.read(keys[0]) is None


def test_a_slot_that_went_to_another_key_during_a_read_is_not_written_over(
    store: SharedStore, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given away after the digest was found in the index, before the slot was read."""
    *keys, rival = crowd(5, SLOTS + 1)
    store.update(keys[0], increment, 10)
    for key in keys[1:]:
        store.update(key, increment, 60)
    clock.advance(20)
    words = store._slots.words

    class Overtaken:
        """The first slot that is read is given away just before."""

        def __getitem__(self, at: int) -> int:
            monkeypatch.undo()
            store.update(rival, put((77,)), 60)
            return words[at]

    monkeypatch.setattr(store._slots, "words", Overtaken())
    with pytest.raises(StoreFull):
        store.update(keys[0], increment, 60)
    assert store.read(rival) == (77,)
    assert store.read(keys[0]) is None


def test_changes_of_one_key_get_times_in_order(clock: HandClock) -> None:
    """Though a thread be held up while another's change is written, also right after it read the clock. The
    limiter forgets what is a window old, and would admit too many for one who lives in the past."""
    memory = Memory()
    other = SharedStore(memory, clock)
    told: list[int] = []

    def tell(old: tuple[int, ...] | None, now: int) -> tuple[tuple[int, ...], int]:
        return (*(old or ()), now), now

    def held_up() -> int:
        now = clock()
        if not told:
            told.append(now)
            clock.advance(1)
            other.update("key", tell, 60)
            clock.advance(1)
        return now

    other.update("key", tell, 60)
    SharedStore(memory, held_up).update("key", tell, 60)
    assert other.read("key") == (told[0], told[0] + 1_000_000, told[0] + 2_000_000)


def test_memory_does_not_grow(clock: HandClock) -> None:
    file = os.memfd_create("test")
    store = SharedStore(Memory(file), clock)
    size = os.fstat(file).st_size
    for number in range(40_000):
        store.update(f"{number}", increment, 1)
        clock.advance(0.01)
    assert len(list(store.scan(""))) == 99
    for _ in range(5):
        Memory(file)
    assert os.fstat(file).st_size == size
    os.close(file)


def test_many_keys_fit(store: SharedStore) -> None:
    for number in range(9000):
        store.update(f"limit:{number}", increment, 60)
    assert len(dict(store.scan("limit:"))) == 9000


# ---------------------------------------------------------------- what it is for


def test_a_change_that_was_overtaken_runs_again(store: SharedStore) -> None:
    change, seen = overtaken(store, (10,))
    store.update("key", put((1,)), 60)
    assert store.update("key", change, 60) == 11
    assert seen == [(1,), (10,)]
    assert store.read("key") == (11,)


def test_a_new_key_that_was_overtaken_runs_again(store: SharedStore) -> None:
    change, seen = overtaken(store, (10,))
    assert store.update("key", change, 60) == 11
    assert seen == [None, (10,)]


def test_a_change_overtaken_by_a_deletion_runs_again(store: SharedStore) -> None:
    def change(old, now):
        if old is not None:
            store.update("key", put(None), 60)
        return increment(old, now)

    store.update("key", put((5,)), 60)
    assert store.update("key", change, 60) == 1


def test_a_key_without_a_slot_gets_a_worker_s_share(
    store: SharedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    *keys, last = crowd(5, SLOTS + 1)
    for key in keys:
        store.update(key, increment, 60)
    monkeypatch.setattr(shared_memory, "_workers", 4)
    monkeypatch.setattr(shared_memory, "SharedStore", lambda: store)
    counts: list[str] = []
    opened = open_store("shared://", counted=counts.append)
    take = sliding_window.Acquire(8, 60_000_000)
    assert [opened.update(last, take, 120)[0] for _ in range(5)] == [True, True, False, False, False]
    assert counts == ["full"] * 5


def test_a_key_without_memory_is_refused_and_affects_no_other(
    store: SharedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.update("key", increment, 60)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shm_table.os, "posix_fallocate", full)
    with pytest.raises(StoreFull):
        store.update("another", increment, 60)
    assert store.update("key", increment, 60) == 2
    monkeypatch.undo()
    assert store.update("another", increment, 60) == 1


FILL_A_SMALL_DISK = """
import os, sys
from flask_gateway.state import StoreFull
from flask_gateway.state.shared_memory import Memory, SharedStore
store = SharedStore(Memory(os.open(sys.argv[1] + "/state", os.O_RDWR | os.O_CREAT)))
count = lambda old, now: ((1 + (old or (0,))[0],), None)
kept = []
for number in range(400):
    try:
        store.update(f"key {number}", count, 60)
        kept.append(number)
    except StoreFull:
        pass
for number in kept:
    store.update(f"key {number}", count, 60)
assert 0 < len(kept) < 400
assert {store.read(f"key {number}") for number in kept} == {(2,)}
assert len(dict(store.scan(""))) == len(kept)
"""


def test_a_full_file_system_under_the_memory_kills_no_process(tmp_path) -> None:
    """A real one. A write to memory that cannot be had ends a process by SIGBUS."""
    need("unshare")
    mount = f"mount -t tmpfs -o size=2m tmpfs {tmp_path}"
    if subprocess.run(["unshare", "-m", "sh", "-c", mount], check=False, capture_output=True).returncode:
        lacking("no mount namespaces here")
    script = [*("unshare", "-m", "sh", "-c", f'{mount} && exec "$@"', "sh", sys.executable, "-c")]
    done = subprocess.run([*script, FILL_A_SMALL_DISK, str(tmp_path)], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr
