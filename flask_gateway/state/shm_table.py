"""Reads and writes the hash table in shared memory: an index of digests, and seqlocked slots. Takes no lock.

A key belongs to one bucket. The bucket's part of the index holds one 16-byte digest per slot (zeros: free),
so one search in a kibibyte finds a key. A slot is a sequence number and two halves. The sequence number's
last bit selects the valid half. A half is::

    0  checksum   u32   CRC-32 of all that follows, seeded with the sequence number
    4  count      u16   of integers
    6  length     u16   of the key
    8  expiry     i64   microseconds of the machine's monotonic clock
    16 digest     16 bytes
    32 key        120 bytes
    152 integers  i64 each

A writer holds the bucket's mutex, a reader holds nothing. A writer fills the invalid half and then increments
the sequence number, a single aligned store. A new key enters the index after that. To delete a key, a writer
increments the sequence number without a matching half, and then clears the index entry. A writer that dies or
stops anywhere therefore leaves either the old or the new state, and readers never wait for it. Nothing needs
repair when another process takes over the mutex of a dead holder.

The file is sparse. A write to a hole kills the process by SIGBUS if the machine has no free page. So the
index is allocated when the area is created, and each slot before its first key. Without memory the key is
refused.

The checksum detects any other damage, and a damaged slot counts as empty. Because it includes the sequence
number, it also detects a copy that a processor with weak memory ordering mixed from two writes. A reader
without the mutex that finds a damaged slot reads it again with the mutex before it counts as empty.
"""

from __future__ import annotations

import os
import struct
import weakref
from collections.abc import Iterator
from functools import cache, lru_cache
from hashlib import blake2b
from mmap import mmap
from typing import NamedTuple
from zlib import crc32

from .contract import MAX_INTS, MAX_KEY, Clock, StoreFull, layout, name_of
from .store import Value

#: Keys are spread unevenly over the buckets. With 32 000 live keys, a bucket overflows one time in 10 000.
BUCKETS = 1024
SLOTS = 64  # of a bucket
DIGEST = 16
_INTS = 32 + MAX_KEY
HALF = _INTS + 8 * MAX_INTS
SLOT = 5120  # 8 bytes of sequence number, two halves of 2552 bytes, 8 bytes to spare
INDEX = DIGEST * SLOTS  # bytes of a bucket's part of the index
LENGTH = BUCKETS * (INDEX + SLOTS * SLOT)  # bytes of the table; the machine allocates pages on use

_HEAD = struct.Struct(f"<IHHq{DIGEST}s").unpack_from
_KEY = struct.Struct(f"<{DIGEST}s{MAX_KEY}s").pack
#: The bits of a sequence number.
MASK = (1 << 64) - 1
FREE = bytes(DIGEST)
_EMPTY = bytes(INDEX)


class SlotAddress(NamedTuple):
    """The bucket, digest and name of a key, and both as a half has them."""

    bucket: int
    digest: bytes
    name: bytes
    key: bytes


#: The content of a valid half: the key's digest, the half itself, the expiry and the value.
Content = tuple[bytes, bytes, int, Value]

#: The result of a read: the slot with the key's digest or -1, its sequence number, the live value, and the
#: time of the read. The clock is read after the slot, so the value is never from a later time.
Seen = tuple[int, int, Value | None, int]


@lru_cache(maxsize=4096)
def slot_address(key: str) -> SlotAddress:
    """:raises ValueError: the key is empty or too long."""
    name = name_of(key)
    digest = blake2b(name, digest_size=DIGEST).digest()
    return SlotAddress(int.from_bytes(digest[:2], "big") % BUCKETS, digest, name, _KEY(digest, name))


@cache  # bounded: a count above MAX_INTS is refused
def _body(count: int) -> struct.Struct:
    layout(count)
    return struct.Struct(f"<HHq{DIGEST + MAX_KEY}s{count}q")


def body_of(place: SlotAddress, value: Value, expiry: int) -> bytes:
    """A half without its checksum.

    :raises ValueError: the value is out of bounds.
    """
    _, _, name, key = place
    try:
        return _body(len(value)).pack(len(value), len(name), expiry, key, *value)
    except struct.error as error:
        raise ValueError(f"a value is a tuple of 64-bit integers: {error}") from None


def seal(body: bytes, sequence: int) -> bytes:
    """The half that is valid under this sequence number."""
    return crc32(body, sequence & 0xFFFFFFFF).to_bytes(4, "little") + body


def following(sequence: int) -> int:
    """The next sequence number, in 64 bits."""
    return (sequence + 1) & MASK


class ShmTable:
    """The hash table in one shared memory. The caller of a writing method holds the bucket's mutex.

    :param offset: of the table in ``memory``, a multiple of 8. The table has :data:`LENGTH` bytes.
    :param file: the file of the memory; :param start: the offset of the memory in that file.
    :ivar index: the offset of the index, :ivar slots: that of the slots.
    """

    def __init__(self, memory: mmap, offset: int, file: int, start: int) -> None:
        self.memory = memory
        self._file, self._start = os.dup(file), start
        weakref.finalize(self, os.close, self._file)
        self.index = offset
        self.slots = offset + BUCKETS * INDEX
        # The processor loads and stores aligned words atomically. Slices of an mmap are not atomic.
        self.words = memoryview(memory).cast("Q")

    # ------------------------------------------------------------ reading

    def read_unlocked(self, place: SlotAddress, clock: Clock) -> Seen | None:
        """Read without the mutex. ``None``: damaged or overtaken by writers, so read with the mutex."""
        bucket, digest, _, _ = place
        start, memory = self.index + bucket * INDEX, self.memory
        at = memory.find(digest, start, start + INDEX)
        slot = self._find(digest, bucket) if at < 0 or (at - start) % DIGEST else (at - self.index) // DIGEST
        if slot < 0:
            return -1, 0, None, clock()
        # As :meth:`_content` and :func:`_live`, without calls: every call reads several values.
        at = self.slots + slot * SLOT
        sequence = self.words[at >> 3]
        at += 8 + (sequence & 1) * HALF
        half = memory[at : at + HALF]
        checksum, count, length, expiry, owner = _HEAD(half)
        if count > MAX_INTS or length > MAX_KEY:
            return None
        if crc32(half[4 : _INTS + 8 * count], sequence & 0xFFFFFFFF) != checksum:
            return None
        now = clock()
        if owner != digest or expiry <= now:
            return slot, sequence, None, now
        return slot, sequence, layout(count).unpack_from(half, _INTS), now

    def read_locked(self, place: SlotAddress, clock: Clock) -> Seen:
        """Read with the mutex held. A slot that is damaged now stays damaged, and counts as empty."""
        slot = self._find(place.digest, place.bucket)
        if slot < 0:
            return -1, 0, None, clock()
        sequence, content = self._content(slot)
        now = clock()
        return slot, sequence, None if content is None else _live(content, place.digest, now), now

    def spans(self, slot: int, sequence: int, length: int) -> tuple[int, slice, slice]:
        """The positions of a slot's sequence number (in words), of its index entry, and of its next half."""
        at, entry = self.slots + slot * SLOT, self.index + slot * DIGEST
        begin = at + 8 + (sequence + 1 & 1) * HALF
        return at >> 3, slice(entry, entry + DIGEST), slice(begin, begin + length)

    def index_of(self, bucket: int) -> tuple[slice, bytes]:
        """The position and the content of a bucket's part of the index."""
        start = self.index + bucket * INDEX
        span = slice(start, start + INDEX)
        return span, self.memory[span]

    def vacancy(self, bucket: int, now: int) -> tuple[int, int]:
        """An allocated slot for a new key, and its sequence number.

        :raises StoreFull: every slot of the bucket holds a live key, or the machine has no memory.
        """
        slot = self._vacancy(bucket, now)
        return slot, self.words[self._at(slot) >> 3]

    def live(self, now: int) -> Iterator[tuple[str, Value]]:
        """Yield every live key. Uses no mutex."""
        for bucket in range(BUCKETS):
            start = self.index + bucket * INDEX
            index = self.memory[start : start + INDEX]
            if index != _EMPTY:
                yield from self._live_of(bucket, index, now)

    def _live_of(self, bucket: int, index: bytes, now: int) -> Iterator[tuple[str, Value]]:
        for entry in range(SLOTS):
            digest = index[entry * DIGEST : (entry + 1) * DIGEST]
            if digest == FREE:
                continue
            slot = bucket * SLOTS + entry
            # Twice, because a writer may overtake the first read.
            content = self._content(slot)[1] or self._content(slot)[1]
            value = None if content is None else _live(content, digest, now)
            if content is not None and value is not None:
                yield _name(content[1]), value

    def _find(self, digest: bytes, bucket: int) -> int:
        """The number of the slot with this digest, or -1."""
        start = self.index + bucket * INDEX
        at = self.memory.find(digest, start, start + INDEX)
        while at >= 0 and (at - start) % DIGEST:  # the match spans two entries
            at = self.memory.find(digest, at + 1, start + INDEX)
        return at if at < 0 else (at - self.index) // DIGEST

    def _at(self, slot: int) -> int:
        return self.slots + slot * SLOT

    def _content(self, slot: int) -> tuple[int, Content | None]:
        """A slot's sequence number and the content of its valid half; ``None`` if that is damaged."""
        at = self.slots + slot * SLOT
        sequence = self.words[at >> 3]
        at += 8 + (sequence & 1) * HALF
        half = self.memory[at : at + HALF]
        checksum, count, length, expiry, digest = _HEAD(half)
        if count > MAX_INTS or length > MAX_KEY:
            return sequence, None
        if crc32(half[4 : _INTS + 8 * count], sequence & 0xFFFFFFFF) != checksum:
            return sequence, None
        return sequence, (digest, half, expiry, layout(count).unpack_from(half, _INTS))

    # ------------------------------------------------------------ writing, with the mutex

    def put(self, place: SlotAddress, slot: int, body: bytes, now: int) -> None:
        """Write to the slot that was read, or for -1 to a vacant one.

        :raises StoreFull: every slot of the bucket holds a live key.
        """
        if slot >= 0:
            self._write(slot, body)
        else:
            slot = self._vacancy(place.bucket, now)
            self._write(slot, body)
            self._enter(slot, place.digest)

    def forget(self, slot: int) -> None:
        """Empty the slot that was read. Does nothing for -1."""
        if slot >= 0:
            word = self._at(slot) >> 3
            # The other half is sealed with a sequence number that is two lower, so it becomes invalid.
            self.words[word] = following(self.words[word])
            self._enter(slot, FREE)

    def _write(self, slot: int, body: bytes) -> None:
        sequence = self.words[self._at(slot) >> 3]
        word, _, into = self.spans(slot, sequence, 4 + len(body))
        self.memory[into] = seal(body, sequence + 1)
        self.words[word] = following(sequence)

    def _enter(self, slot: int, digest: bytes) -> None:
        entry = self.index + slot * DIGEST
        self.memory[entry : entry + DIGEST] = digest

    def _vacancy(self, bucket: int, now: int) -> int:
        """A free slot, else an expired or damaged one."""
        slot = self._find(FREE, bucket)
        if slot >= 0:
            self._allocate(slot)
            return slot
        for slot in range(bucket * SLOTS, (bucket + 1) * SLOTS):
            entry = self.index + slot * DIGEST
            content = self._content(slot)[1]
            if content is None or _live(content, self.memory[entry : entry + DIGEST], now) is None:
                return slot
        raise StoreFull(f"all {SLOTS} slots of a bucket hold live keys")

    def _allocate(self, slot: int) -> None:
        """:raises StoreFull: the machine has no memory for the slot."""
        try:
            os.posix_fallocate(self._file, self._start + self._at(slot), SLOT)
        except OSError as error:
            raise StoreFull(f"no memory for one more key: {error.strerror}") from error


def _name(half: bytes) -> str:
    """The name of the key that a valid half belongs to."""
    _, _, length, _, _ = _HEAD(half)
    return half[32 : 32 + length].decode()


def _live(content: Content, digest: bytes, now: int) -> Value | None:
    """The value, if the content belongs to this digest and has not expired."""
    owner, _, expiry, value = content
    return value if owner == digest and expiry > now else None
