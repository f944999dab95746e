"""Tests the shared memory: killed and stopped workers, damage, lack of space, reloads, and exact counts."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
import urllib.request
from itertools import count as count_from
from itertools import islice
from mmap import mmap

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kit.needs import lacking, need
from kit.stores import Child, HandClock, free_port, increment, keep, overtaken, put
from kit.waiting import until

from flask_gateway.guards import sliding_window
from flask_gateway.state import (
    StoreBusy,
    StoreError,
    StoreFull,
    open_store,
    robust_mutex,
    self_check,
    shared_memory,
    shm_table,
)
from flask_gateway.state.fallback import FallbackStore
from flask_gateway.state.memory import MemoryStore
from flask_gateway.state.robust_mutex import Mutexes
from flask_gateway.state.self_check import check_mutexes
from flask_gateway.state.shared_memory import Memory, SharedStore
from flask_gateway.state.shm_table import BUCKETS, INDEX, SLOT, SLOTS, SlotAddress, slot_address


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def store(clock: HandClock) -> SharedStore:
    return SharedStore(Memory(), clock)


class Flags:
    """A few integers that a parent and its children see alike, each stored in one piece or not at all."""

    def __init__(self) -> None:
        self._words = memoryview(mmap(-1, 4096)).cast("q")

    def __getitem__(self, index: int) -> int:
        return self._words[index]

    def __setitem__(self, index: int, value: int) -> None:
        self._words[index] = value


def crowd(bucket: int, count: int) -> list[str]:
    """Keys that all belong to one bucket."""
    keys = (f"crowd {n}" for n in count_from(0))
    return list(islice((key for key in keys if slot_address(key).bucket == bucket), count))


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
        assert time.monotonic() - begun < 0.5


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
    assert time.monotonic() - begun < 0.5
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
        assert time.monotonic() - begun < 0.5
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
        over = time.monotonic() + 0.7
        while time.monotonic() < over:
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
            assert 0.015 < time.monotonic() - begun < 0.5
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
            begin = table._index + bucket * INDEX + min(at, INDEX - len(garbage))
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
    for at in range(table._index, len(table.memory), len(page)):
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
    content = store._slots._content

    def overtaken(slot: int):
        monkeypatch.undo()
        store.update(rival, put((77,)), 60)
        return content(slot)

    monkeypatch.setattr(store._slots, "_content", overtaken)
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


# ---------------------------------------------------------------- workers come and go


@pytest.fixture
def file():
    descriptor = os.memfd_create("test")
    yield descriptor
    os.close(descriptor)


def test_state_outlives_the_workers(file: int) -> None:
    def old() -> None:
        SharedStore(Memory(file)).update("key", put((1, 2, 3)), 60)

    def new() -> None:
        shared_memory.attach(file)
        store = SharedStore()
        assert store.read("key") == (1, 2, 3)
        assert store.update("other", increment, 60) == 1

    assert Child(old).wait() == 0
    assert Child(new).wait() == 0
    assert SharedStore(Memory(file)).read("other") == (1,)


def test_workers_that_start_together_share(file: int) -> None:
    flags = Flags()

    def work() -> None:
        assert until(lambda: flags[0])
        store = SharedStore(Memory(file))
        for _ in range(20):
            store.update("key", increment, 60)

    children = [Child(work) for _ in range(8)]
    flags[0] = 1
    assert [child.wait() for child in children] == [0] * 8
    assert SharedStore(Memory(file)).read("key") == (160,)


def test_another_layout_starts_empty_and_leaves_the_old_area_unchanged(
    file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = SharedStore(Memory(file))
    old.update("key", put((1,)), 60)
    monkeypatch.setattr(shared_memory, "LAYOUT", shared_memory.LAYOUT + 1)
    new = SharedStore(Memory(file))
    assert new.read("key") is None
    new.update("key", put((2,)), 60)
    assert SharedStore(Memory(file)).read("key") == (2,)
    assert old.read("key") == (1,)
    monkeypatch.undo()
    assert SharedStore(Memory(file)).read("key") == (1,)


def test_a_worker_killed_during_set_up_leaves_it_to_the_next(file: int) -> None:
    def work() -> None:
        shared_memory.Mutexes.create = lambda self: os.kill(os.getpid(), signal.SIGKILL)
        Memory(file)

    assert Child(work).wait() == -signal.SIGKILL
    size = os.fstat(file).st_size
    assert size > 0
    assert SharedStore(Memory(file)).update("key", increment, 60) == 1
    assert os.fstat(file).st_size == size


def test_a_worker_stopped_during_set_up_delays_the_others_by_a_second(
    file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = Flags()

    def work() -> None:
        shared_memory._lock(file)
        flags[0] = 1
        time.sleep(60)

    monkeypatch.setattr(shared_memory, "_SET_UP_PATIENCE", 0.05)
    with Child(work):
        assert until(lambda: flags[0])
        with pytest.raises(StoreError, match="no shared memory"):
            Memory(file)
    assert SharedStore(Memory(file)).update("key", increment, 60) == 1


@pytest.mark.parametrize(
    "header",
    [
        b"\x01",
        b"too short",
        b"\xff" * 64,
        b"flask-gateway\0\0\0" + bytes(16),
        b"flask-gateway\0\0\0" + b"\1" * 16,
    ],
)
def test_a_damaged_header_is_refused(file: int, header: bytes) -> None:
    os.pwrite(file, header, 0)
    with pytest.raises(StoreError):
        Memory(file)


def test_an_invalid_descriptor_is_refused_and_the_gateway_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shared_memory, "_attached", 9999)
    with pytest.raises(StoreError):
        SharedStore()
    store = open_store("shared://")
    assert store.update("key", increment, 60) == 1
    assert store.degraded
    assert "no shared memory" in store.status().reason


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


def test_processes_and_threads_lose_no_change() -> None:
    """4 processes of 16 threads. Busy means that nothing was written, so it may be tried again."""
    store, busy = SharedStore(Memory()), Flags()

    def one(key: str, number: int) -> None:
        while True:
            try:
                store.update(key, increment, 60)
                return
            except StoreBusy:
                busy[number] += 1

    def work(number: int) -> None:
        def thread(which: int) -> None:
            for round_ in range(40):
                one("hot", number)
                one(f"{(which + round_) % 16}", number)

        threads = [threading.Thread(target=thread, args=(n,)) for n in range(16)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()

    children = [Child(lambda n=n: work(n)) for n in range(4)]
    assert [child.wait() for child in children] == [0] * 4
    assert store.read("hot") == (4 * 16 * 40,)
    assert [store.read(f"{n}") for n in range(16)] == [(4 * 40,)] * 16
    print("busy:", sum(busy[n] for n in range(4)))


def test_readers_never_see_a_mixture() -> None:
    """A writer changes all 300 integers at once, as fast as it can."""
    store, flags = SharedStore(Memory()), Flags()
    store.update("key", put((0,) * 300), 60)

    def work() -> None:
        number = 0
        while not flags[0]:
            number += 1
            store.update("key", put((number,) * (1 + number % 300)), 60)

    with Child(work) as child:
        assert until(lambda: store.read("key") != (0,) * 300)  # else a slow start is all that is read
        values = [store.read("key") for _ in range(3000)]
        flags[0] = 1
        assert child.wait() == 0
    assert all(value and len(set(value)) == 1 for value in values)
    numbers = [value[0] for value in values]
    assert numbers == sorted(numbers)
    assert numbers[-1] > 0


def test_buckets_are_evenly_used() -> None:
    used = [0] * BUCKETS
    for number in range(BUCKETS * 20):
        used[slot_address(f"limit:{number}").bucket] += 1
    assert max(used) < SLOTS


@pytest.mark.live
def test_state_outlives_reload_and_kill_under_gunicorn(tmp_path) -> None:
    """Uses the example in the docstring of state/shared_memory.py as configuration."""
    lines = shared_memory.__doc__.partition("::\n")[2].partition("State therefore")[0]
    (tmp_path / "conf.py").write_text(textwrap.dedent(lines))
    (tmp_path / "app.py").write_text(
        "import os\n"
        "from flask_gateway.state.shared_memory import SharedStore\n"
        "store = SharedStore()\n"
        "def count(old, now): return ((old[0] if old else 0) + 1,), (old[0] if old else 0) + 1\n"
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [f'{os.getpid()} {store.update(\"key\", count, 60)}'.encode()]\n"
    )
    port, root = free_port(), os.path.dirname(os.path.dirname(shared_memory.__file__))
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "-c",
        "conf.py",
        "-w",
        "2",
        "-b",
        f"127.0.0.1:{port}",
        "app:app",
    ]
    url = f"http://127.0.0.1:{port}/"
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(root)}
    server = subprocess.Popen(
        [*command, "--no-control-socket"],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

    def ask(of=lambda pid: True) -> tuple[int, int]:
        """The first answer by a worker that is meant: its pid and the count."""
        found = []

        def answered() -> bool:
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2) as reply:
                found[:] = map(int, reply.read().split())
            return bool(found) and of(found[0])

        assert until(answered, 10)
        return tuple(found)

    try:
        first = [ask() for _ in range(20)]
        assert len({count for _, count in first}) == 20
        server.send_signal(signal.SIGHUP)
        old = {pid for pid, _ in first}
        pid, count = ask(lambda pid: pid not in old)
        assert count > 20
        os.kill(pid, signal.SIGKILL)
        assert ask(lambda other: other != pid and other not in old)[1] > count
    finally:
        os.killpg(server.pid, signal.SIGKILL)  # a worker just being forked may miss a gentler signal
        server.wait(10)


# ---------------------------------------------------------------- memory


def test_as_many_keys_fit_as_the_documentation_says() -> None:
    used = [0] * BUCKETS
    for number in range(32_000):
        used[slot_address(f"limit:{number:08x}").bucket] += 1
    assert max(used) <= SLOTS


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


# ---------------------------------------------------------------- the check at the start


def test_the_mutexes_of_this_platform_pass_the_check() -> None:
    for _ in range(20):
        check_mutexes.__wrapped__()


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"_try": lambda self: lambda place: 0}, "exclude"),
        ({"_unlock": lambda self: lambda place: 0}, "anybody"),
    ],
)
def test_mutexes_that_fail_the_check_are_refused(
    monkeypatch: pytest.MonkeyPatch, broken: dict, said: str
) -> None:
    class Broken(Mutexes):
        def __init__(self, *arguments) -> None:
            super().__init__(*arguments)
            for name, function in broken.items():
                setattr(self, name, function(self))

    monkeypatch.setattr(self_check, "Mutexes", Broken)
    with pytest.raises(StoreError, match=said):
        check_mutexes.__wrapped__()
    store = open_store("shared://")
    assert not store.degraded  # the check of this process was made before


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
