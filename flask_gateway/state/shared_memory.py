"""Keeps the state of one machine in memory that all its gunicorn workers share. Mutexes guard writes.

The gunicorn master creates the memory, an unnamed file in RAM (memfd). Each forked worker inherits its
descriptor. The master imports nothing of this package for that, so that a reload brings new code::

    import os

    def on_starting(server):  # once in the master's life, not again on reload
        server.gateway_memory = os.memfd_create("flask-gateway")

    def post_fork(server, worker):  # in the new worker
        from flask_gateway.state import shared_memory

        shared_memory.attach(server.gateway_memory, server.cfg.workers)

State therefore outlives workers and reloads, and ends with the master. A worker that dies needs no cleanup:
robust_mutex.py explains why for its locks, shm_table.py for its unfinished writes.
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
from zlib import crc32

from .contract import Clock, StoreError, lifetime, monotonic
from .processes import Processes
from .robust_mutex import SPACING, Mutexes
from .self_check import check_mutexes
from .shm_table import (
    BUCKETS,
    DIGEST,
    FREE,
    HALF,
    INDEX,
    LENGTH,
    MASK,
    SLOT,
    ShmTable,
    SlotAddress,
    body_of,
    following,
    seal,
    slot_address,
)
from .store import Change, StoreStatus, Value

Answer = TypeVar("Answer")

#: The version of everything that processes sharing the memory must agree on: the layout (shm_table.py), the
#: locks (robust_mutex.py) and the order of writes. Raise it with every change of these.
LAYOUT = 2

_HEADER = struct.Struct("<16sQQ")  # magic, layout, bytes to the next area
_MAGIC = b"flask-gateway"
_PAGE = 4096
_AREA = _PAGE + SPACING * BUCKETS + LENGTH  # header, mutexes, slots
_FIXED = _PAGE + SPACING * BUCKETS + INDEX * BUCKETS  # allocated from the start

#: How long a starting worker waits for another that is setting up the memory, seconds.
_SET_UP_PATIENCE = 1.0

_attached: int | None = None
_workers = 1
#: Without a file of the master: the descriptor of the file that this process or its parent created, and the
#: pid of its creator.
_own: tuple[int, int] | None = None
#: Guards the set-up against other threads of this process. ``lockf`` guards it against other processes.
_setting_up = threading.Lock()


def attach(descriptor: int, workers: int = 1) -> None:
    """Use the file that the gunicorn master created for every ``Memory()`` of this process.

    :param workers: how many processes share it.
    """
    global _attached, _workers
    _attached, _workers = descriptor, workers


def workers() -> int:
    """How many processes share the memory. A limit is divided by it while each process counts alone."""
    return _workers


def is_alone() -> bool:
    """Whether only this process and its later forks have this memory."""
    return _attached is None and (_own is None or _own[1] == os.getpid())


class Memory:
    """Maps the area of the shared file that has this code's layout.

    The file is a sequence of areas, each with a header that gives its layout. After a reload, code with
    another layout adds its own area and leaves the old area to the old workers. Its state then starts empty,
    once, and no worker reads a layout that it does not know.

    :param descriptor: of a file in RAM. By default the attached file, or else a new one, which later forks
        share.
    :raises StoreError: the platform has no such memory, or it cannot be allocated.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        global _own
        descriptor = _attached if descriptor is None else descriptor
        if descriptor is None and not is_alone():
            assert _own is not None
            descriptor = _own[0]  # inherited from the parent process
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
        start, expected = 0, _HEADER.pack(_MAGIC, LAYOUT, _AREA)
        while (header := os.pread(descriptor, _HEADER.size, start)) != expected:
            if not any(header):  # the end, or an area whose creator died before writing the header
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
        if header != expected:
            self.mutexes.create()
            area[: _HEADER.size] = expected


def _new_file() -> int:
    try:
        return os.memfd_create("flask-gateway")
    except (AttributeError, OSError) as error:
        raise StoreError(f"no file in memory: {error}") from error


def _lock(descriptor: int) -> None:
    """Lock the file against other processes. The kernel unlocks it when this process dies.

    :raises OSError: another process has held the lock for too long.
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
    """State of this machine, for all threads of all workers.

    The mutex of a key's bucket guards writes. A checksum validates reads.

    An update first runs ``change`` without the mutex. It then holds the mutex for about a microsecond, to
    compare and store. If another update was faster, it runs ``change`` again with the mutex held. ``now`` is
    read after the old value, and no other write comes between that read and the update's own write. The
    changes of one key therefore see times in order, however long a thread waited for the GIL in between.

    :param clock: microseconds, the same for all processes.
    :raises StoreError: as :class:`Memory`.
    """

    def __init__(self, memory: Memory | None = None, clock: Clock = monotonic) -> None:
        memory = memory or Memory()
        self._mutexes = memory.mutexes
        self._slots = table = memory.slots
        self._memory, self._words, self._index, self._first = (
            table.memory,
            table.words,
            table.index,
            table.slots,
        )
        self._clock = clock
        #: The processes that share this memory; ``None`` if proc is not readable.
        self.holders = processes if (processes := Processes()).possible else None

    def now(self) -> int:
        return self._clock()

    def read(self, key: str) -> Value | None:
        """:raises StoreBusy: the slot is damaged, and its bucket's mutex cannot be locked."""
        place = slot_address(key)
        seen = self._slots.read_unlocked(place, self._clock)
        if seen is None:
            unlocker = self._mutexes.unlocker(place.bucket)
            self._mutexes.take(place.bucket)
            try:
                seen = self._slots.read_locked(place, self._clock)
            finally:
                (_,) = unlocker
        return seen[2]

    def watch(self, *keys: str, lax: bool = False) -> None:
        """Do nothing: reads are quick."""

    def update(self, key: str, change: Change[Answer], ttl: float) -> Answer:
        """Apply ``change``. On an error nothing is written.

        :raises StoreBusy: another holds the mutex of the key's bucket, and is stopped or slower than 100 ms.
        :raises StoreFull: the bucket has no space for another key.
        :raises ValueError: the key or the new value is out of bounds.
        """
        place = slot_address(key)
        seen = self._slots.read_unlocked(place, self._clock)
        if seen is not None:
            slot, sequence, old, now = seen
            new, answer = change(old, now)
            if new is old:
                return answer
            # Store the new value if the slot has not changed since it was read.
            if new is None:
                stored = slot < 0 or self._drop(place, slot, sequence)
            elif slot >= 0:
                stored = self._swap(place, slot, sequence, new, now + lifetime(ttl))
            else:
                stored = self._add(place, body_of(place, new, now + lifetime(ttl)), now)
            if stored:
                return answer
        return self._update_undisturbed(place, change, ttl)

    # The next three methods make no call while they hold the mutex, and create no object that could start a
    # garbage collection: see robust_mutex.py.

    def _swap(self, place: SlotAddress, slot: int, sequence: int, value: Value, expiry: int) -> bool:
        """Overwrite the slot if it has not changed since it was read."""
        bucket, digest, _, _ = place
        written = sequence + 1 & MASK
        body = body_of(place, value, expiry)
        half = crc32(body, written & 0xFFFFFFFF).to_bytes(4, "little") + body  # as ``seal``
        # As ``ShmTable.spans``, without its call: every call of the gateway writes several values.
        at, entry = self._first + slot * SLOT, self._index + slot * DIGEST
        word, owner, begin = at >> 3, slice(entry, entry + DIGEST), at + 8 + (written & 1) * HALF
        into, memory, words = slice(begin, begin + len(half)), self._memory, self._words
        locker, unlocker = self._mutexes.locker(bucket)
        (code,) = locker
        if code:
            self._mutexes.insist(bucket, code)
        try:
            # Compare the index too: another key may have taken the slot since we found the digest.
            still = words[word] == sequence and memory[owner] == digest
            if still:
                memory[into] = half
                words[word] = written
        finally:
            (_,) = unlocker
        return still

    def _add(self, place: SlotAddress, body: bytes, now: int) -> bool:
        """Add a new key if the bucket's index has not changed since the key was missing from it.

        :raises StoreFull: the bucket has no space.
        """
        span, index = self._slots.index_of(place.bucket)
        if place.digest in index:
            return False
        slot, sequence = self._slots.vacancy(place.bucket, now)
        half, digest, next_sequence = seal(body, sequence + 1), place.digest, following(sequence)
        word, entry, into = self._slots.spans(slot, sequence, len(half))
        memory, words = self._slots.memory, self._slots.words
        unlocker = self._mutexes.unlocker(place.bucket)
        self._mutexes.take(place.bucket)
        try:
            still = memory[span] == index and words[word] == sequence
            if still:
                memory[into] = half
                words[word] = next_sequence
                memory[entry] = digest
        finally:
            (_,) = unlocker
        return still

    def _drop(self, place: SlotAddress, slot: int, sequence: int) -> bool:
        """Delete the key if its slot has not changed since it was read."""
        digest, next_sequence = place.digest, following(sequence)
        word, entry, _ = self._slots.spans(slot, sequence, 0)
        memory, words = self._slots.memory, self._slots.words
        unlocker = self._mutexes.unlocker(place.bucket)
        self._mutexes.take(place.bucket)
        try:
            still = words[word] == sequence and memory[entry] == digest
            if still:
                words[word] = next_sequence
                memory[entry] = FREE
        finally:
            (_,) = unlocker
        return still

    def _update_undisturbed(self, place: SlotAddress, change: Change[Answer], ttl: float) -> Answer:
        """Run the change while holding the mutex."""
        unlocker = self._mutexes.unlocker(place.bucket)
        self._mutexes.take(place.bucket)
        try:
            slot, _, old, now = self._slots.read_locked(place, self._clock)
            new, answer = change(old, now)
            if new is None:
                self._slots.forget(slot)
            elif new is not old:
                self._slots.put(place, slot, body_of(place, new, now + lifetime(ttl)), now)
        finally:
            (_,) = unlocker
        return answer

    def scan(self, prefix: str) -> Iterator[tuple[str, Value]]:
        return ((key, value) for key, value in self._slots.live(self._clock()) if key.startswith(prefix))

    def status(self) -> StoreStatus:
        """Always well: its errors are raised, and another store answers for it."""
        return StoreStatus()

    def close(self) -> None:
        """Do nothing: the last reference unmaps the memory, so no thread loses it while in use."""
