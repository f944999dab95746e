"""The store of one machine: memory shared by all its gunicorn workers, guarded by tried mutexes.

The gunicorn master makes the memory, an unnamed file that exists in RAM only, and hands its descriptor
to each worker it forks. It needs nothing of this package for that, so that a reload brings new code::

    import os

    def on_starting(server):  # once in the master's life, not again on reload
        server.gateway_memory = os.memfd_create("flask-gateway")

    def post_fork(server, worker):  # in the new worker
        from flask_gateway.state import shared_memory

        shared_memory.attach(server.gateway_memory, server.cfg.workers)

State thus outlives workers and reloads, and goes with the master. Nothing has to be done when a worker
dies: see robust_mutex.py for its locks and shm_table.py for what it was writing.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
import time
from collections.abc import Iterator
from mmap import mmap
from typing import TypeVar

from .contract import Clock, StoreError, lifetime, monotonic
from .processes import Processes
from .robust_mutex import SPACING, Mutexes
from .self_check import check_mutexes
from .shm_table import (
    BUCKETS,
    FREE,
    INDEX,
    LENGTH,
    ShmTable,
    SlotAddress,
    body_of,
    following,
    seal,
    slot_address,
)
from .store import Change, Value

Answer = TypeVar("Answer")

#: Of everything that processes sharing the memory must agree on: what lies where (shm_table.py), which
#: lock guards it (robust_mutex.py), what is done in which order. Raise it with every change of that.
LAYOUT = 2

_HEADER = struct.Struct("<16sQQ")  # magic, layout, bytes to the next area
_MAGIC = b"flask-gateway"
_PAGE = 4096
_AREA = _PAGE + SPACING * BUCKETS + LENGTH  # header, mutexes, slots
_FIXED = _PAGE + SPACING * BUCKETS + INDEX * BUCKETS  # what is allocated from the beginning

#: How long a start may wait for another worker that is just setting up the memory, seconds.
_SET_UP_PATIENCE = 1.0

_attached: int | None = None
_workers = 1
#: Where no master has made one: the file that a process made for itself and those forked from it, and which.
_own: tuple[int, int] | None = None
#: Guards the setting up against this process's other threads; ``lockf`` does so against other processes.
_setting_up = threading.Lock()


def attach(descriptor: int, workers: int = 1) -> None:
    """Have every ``Memory()`` of this process use the file that the gunicorn master has made.

    :param workers: how many processes share it.
    """
    global _attached, _workers
    _attached, _workers = descriptor, workers


def workers() -> int:
    """How many processes share the memory: among so many a limit is divided while each counts for itself."""
    return _workers


def is_alone() -> bool:
    """Whether no process but this one, and those it may yet fork, has this memory."""
    return _attached is None and (_own is None or _own[1] == os.getpid())


class Memory:
    """The part of the shared file that is laid out as this code expects. Shared by all who map it.

    The file is a row of areas, each with a header that tells its layout. Code of another layout, met
    after a reload, adds an area of its own and leaves the old workers theirs: state then begins anew,
    once, and nobody reads what he does not understand.

    :param descriptor: of a file in RAM; without one the attached one, or else a new one, shared with
        whatever is forked from here.
    :raises StoreError: there is no such memory on this platform, or it cannot be had.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        global _own
        descriptor = _attached if descriptor is None else descriptor
        if descriptor is None and not is_alone():
            assert _own is not None
            descriptor = _own[0]  # of the process that forked us
        if descriptor is not None:
            self._open(descriptor)
            return
        descriptor = _new_file()
        try:
            self._open(descriptor)
        except StoreError:
            os.close(descriptor)
            raise
        if _own is not None:
            os.close(_own[0])  # the mapping keeps the file
        _own = descriptor, os.getpid()

    def _open(self, descriptor: int) -> None:
        try:
            with _setting_up:
                _lock(descriptor)
                try:
                    self._find_or_add_area(descriptor)
                finally:
                    fcntl.lockf(descriptor, fcntl.LOCK_UN)
        except (OSError, ValueError, struct.error) as error:
            raise StoreError(f"no shared memory: {error}") from error
        check_mutexes()

    def _find_or_add_area(self, descriptor: int) -> None:
        start, ours = 0, _HEADER.pack(_MAGIC, LAYOUT, _AREA)
        while (header := os.pread(descriptor, _HEADER.size, start)) != ours:
            if not any(header):  # the end; or begun by one who died before he wrote the header
                break
            magic, _, length = _HEADER.unpack(header)
            if magic.rstrip(b"\0") != _MAGIC or not length or length % _PAGE:
                raise StoreError("the shared memory's header is damaged; restart the gateway")
            start += length
        if not any(header):
            os.ftruncate(descriptor, max(start + _AREA, os.fstat(descriptor).st_size))
            os.posix_fallocate(descriptor, start, _FIXED)
        area = mmap(descriptor, _AREA, offset=start)
        self.mutexes = Mutexes(area, _PAGE, BUCKETS)
        self.slots = ShmTable(area, _PAGE + SPACING * BUCKETS, descriptor, start)
        if header != ours:
            self.mutexes.create()
            area[: _HEADER.size] = ours


def _new_file() -> int:
    try:
        return os.memfd_create("flask-gateway")
    except (AttributeError, OSError) as error:
        raise StoreError(f"no file in memory: {error}") from error


def _lock(descriptor: int) -> None:
    """Lock the file against other processes; the kernel unlocks it when we die.

    :raises OSError: another has been setting it up for too long.
    """
    deadline = time.monotonic() + _SET_UP_PATIENCE
    while True:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.001)


class SharedStore:
    """State of this machine. Shared by all threads of all workers: a write is guarded by its bucket's
    mutex, a read by the checksum of what it read.

    A change is first worked out without the mutex, which is then held just for comparing and storing,
    a microsecond. Whoever finds that another was faster works it out again with the mutex held. The time
    a change is told is read after the value it is given, and nothing is written between that and its own
    write: so one key's changes are told times in order, however long a thread had to wait for its turn in
    between.

    :param clock: microseconds, the same for all processes.
    :raises StoreError: as :class:`Memory`.
    """

    def __init__(self, memory: Memory | None = None, clock: Clock = monotonic) -> None:
        memory = memory or Memory()
        self._mutexes = memory.mutexes
        self._slots = memory.slots
        self._clock = clock
        #: The processes that share this memory, if the kernel tells of them.
        self.holders = processes if (processes := Processes()).possible else None

    def now(self) -> int:
        return self._clock()

    def read(self, key: str) -> Value | None:
        """:raises StoreBusy: what is there is damaged, and its bucket's mutex cannot be had."""
        place = slot_address(key)
        seen = self._slots.glance(place, self._clock)
        if seen is None:
            freeing = self._mutexes.freeing(place.bucket)
            self._mutexes.take(place.bucket)
            try:
                seen = self._slots.look(place, self._clock)
            finally:
                (_,) = freeing
        return seen[2]

    def update(self, key: str, change: Change[Answer], ttl: float) -> Answer:
        """On an error nothing is written.

        :raises StoreBusy: the mutex of the key's bucket was held for 20 ms.
        :raises StoreFull: the bucket has no room for another key.
        :raises ValueError: the key or the new value is out of bounds.
        """
        place = slot_address(key)
        seen = self._slots.glance(place, self._clock)
        if seen is not None:
            slot, sequence, old, now = seen
            new, answer = change(old, now)
            if new is old:
                return answer
            if self._store(place, slot, sequence, new, now, ttl):
                return answer
        return self._update_undisturbed(place, change, ttl)

    def _store(
        self, place: SlotAddress, slot: int, sequence: int, new: Value | None, now: int, ttl: float
    ) -> bool:
        """Store what a change has made of what was seen, if all is still as it was seen."""
        if new is None:
            return slot < 0 or self._drop(place, slot, sequence)
        body = body_of(place, new, now + lifetime(ttl))
        if slot >= 0:
            return self._swap(place, slot, sequence, body)
        return self._add(place, body, now)

    # From taking the mutex to releasing it nothing is called in the next three, and nothing made that could
    # start a garbage collection: see robust_mutex.py.

    def _swap(self, place: SlotAddress, slot: int, sequence: int, body: bytes) -> bool:
        """Write the body if all is still as it was seen."""
        half, digest, next_sequence = seal(body, sequence + 1), place.digest, following(sequence)
        word, entry, into = self._slots.spans(slot, sequence, len(half))
        memory, words = self._slots.memory, self._slots.words
        freeing = self._mutexes.freeing(place.bucket)
        self._mutexes.take(place.bucket)
        try:
            # The index as well: after we found the digest there, the slot may have gone to another key.
            still = words[word] == sequence and memory[entry] == digest
            if still:
                memory[into] = half
                words[word] = next_sequence
        finally:
            (_,) = freeing
        return still

    def _add(self, place: SlotAddress, body: bytes, now: int) -> bool:
        """Write a new key's body if its bucket has the same keys as when it was not among them.

        :raises StoreFull: there is no room.
        """
        span, index = self._slots.index_of(place.bucket)
        if place.digest in index:
            return False
        slot, sequence = self._slots.vacancy(place.bucket, now)
        half, digest, next_sequence = seal(body, sequence + 1), place.digest, following(sequence)
        word, entry, into = self._slots.spans(slot, sequence, len(half))
        memory, words = self._slots.memory, self._slots.words
        freeing = self._mutexes.freeing(place.bucket)
        self._mutexes.take(place.bucket)
        try:
            still = memory[span] == index and words[word] == sequence
            if still:
                memory[into] = half
                words[word] = next_sequence
                memory[entry] = digest
        finally:
            (_,) = freeing
        return still

    def _drop(self, place: SlotAddress, slot: int, sequence: int) -> bool:
        """Forget the key if all is still as it was seen."""
        digest, next_sequence = place.digest, following(sequence)
        word, entry, _ = self._slots.spans(slot, sequence, 0)
        memory, words = self._slots.memory, self._slots.words
        freeing = self._mutexes.freeing(place.bucket)
        self._mutexes.take(place.bucket)
        try:
            still = words[word] == sequence and memory[entry] == digest
            if still:
                words[word] = next_sequence
                memory[entry] = FREE
        finally:
            (_,) = freeing
        return still

    def _update_undisturbed(self, place: SlotAddress, change: Change[Answer], ttl: float) -> Answer:
        """Work the change out while holding the mutex."""
        freeing = self._mutexes.freeing(place.bucket)
        self._mutexes.take(place.bucket)
        try:
            slot, _, old, now = self._slots.look(place, self._clock)
            new, answer = change(old, now)
            if new is None:
                self._slots.forget(slot)
            elif new is not old:
                self._slots.put(place, slot, body_of(place, new, now + lifetime(ttl)), now)
        finally:
            (_,) = freeing
        return answer

    def scan(self, prefix: str) -> Iterator[tuple[str, Value]]:
        return ((key, value) for key, value in self._slots.live(self._clock()) if key.startswith(prefix))

    def close(self) -> None:
        """Nothing: the mapping goes with the last reference to it, so that no thread is left without."""
