"""Keeps rings of short records in a file in memory. Every worker reads all of it, and writes its own region.

The file is a row of regions, one for each slot of a worker. Only the process with that slot writes the
region, so no lock is shared between processes. The next process with the slot goes on where the last one
ended.

An entry is written as one slice: sequence number, checksum, length, mark, body. The checksum includes the
number and the layout, so a reader drops an entry that it reads while it is written, or that other code wrote.
After it, the ring's head in the first page of the region gets the number.

Readers map the file, and read the entries alone that the head says are there: reading a hole of a mapped file
would take memory. Writers allocate before they write: a write to a hole kills the process if the machine has
no memory. Without memory the entry is dropped.
"""

from __future__ import annotations

import os
import struct
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from mmap import ACCESS_READ, mmap
from typing import NamedTuple, TypeVar
from zlib import crc32

import msgspec

Entry = TypeVar("Entry")

#: The version of the layout. Raise it when the shape of a region or of an entry changes.
LAYOUT = 2
#: Bytes at the beginning of a region that hold the heads of its rings.
HEADS = 4096

#: Sequence number from 1, checksum, length of the body, mark; in this machine's order of bytes.
_ENTRY = struct.Struct("=QIHH")
#: Where the mark is in an entry, in words of two bytes.
_MARK = 7
_HEAD = struct.Struct("<Q")  # the layout in the highest byte, the newest sequence number
_NUMBER = (1 << 56) - 1
#: How much a writer allocates at a time, bytes.
CHUNK = 1 << 18
#: In how many bytes a reader searches at a time.
_PART = 1 << 18
#: By how many entries their order may differ from that of their times: threads write them.
_DISORDER = 64


class Shape(NamedTuple):
    """A ring in a region.

    :param head: the place of its head in the first page. :param start: where its entries begin.
    :param entries: how many it keeps. :param size: the bytes of each.
    """

    head: int
    start: int
    entries: int
    size: int

    @property
    def longest(self) -> int:
        """The longest body, bytes."""
        return self.size - _ENTRY.size

    @property
    def end(self) -> int:
        return self.start + self.entries * self.size


class Marked(NamedTuple):
    """Entries whose mark has these bits. A reader passes over the others without reading their bodies.

    :param mask: which bits count. :param value: what they are.
    """

    mask: int = 0
    value: int = 0


ALL = Marked()


class RingWriter:
    """Writes one ring of this worker's region. All threads of the process share it.

    :param memory: maps the region. :param file: its descriptor. :param base: where the region begins.
    """

    def __init__(self, memory: mmap, file: int, base: int, shape: Shape) -> None:
        self._memory, self._file, self._base, self._shape = memory, file, base, shape
        self._lock = threading.Lock()
        self._newest = newest(file, base, shape)
        self._allocated = shape.start

    def append(self, body: bytes, mark: int = 0) -> bool:
        """Write one entry; ``False`` if it is too long or the machine has no memory."""
        with self._lock:
            return self._write(((body, mark),)) == 1

    def extend(self, bodies: Iterable[tuple[bytes, int]]) -> int:
        """Write several entries. Returns how many: those that are too long, or without memory, are not.

        :param bodies: each with its mark, 0 to 65535, by which readers select entries.
        """
        with self._lock:
            return self._write(bodies)

    def _write(self, bodies: Iterable[tuple[bytes, int]]) -> int:
        (head, start, entries, size), memory, number = self._shape, self._memory, self._newest
        for body, mark in bodies:
            place, length = start + (number + 1) % entries * size, len(body)
            full = place + size > self._allocated and not self._allocate(place + size)
            if full or length > size - _ENTRY.size:
                continue
            number += 1
            entry = _ENTRY.pack(number, _checksum(number, body), length, mark) + body
            memory[place : place + len(entry)] = entry
        written, self._newest = number - self._newest, number
        if written:
            memory[head : head + 8] = _HEAD.pack(LAYOUT << 56 | number)
        return written

    def _allocate(self, end: int) -> bool:
        """Allocate at least up to there, and a chunk at a time, so that it is rare."""
        upto = min(max(self._allocated + CHUNK, end), self._shape.end)
        try:
            os.posix_fallocate(self._file, self._base + self._allocated, upto - self._allocated)
        except OSError:
            return False
        self._allocated = upto
        return True


def _checksum(number: int, body: bytes) -> int:
    return crc32(body, (number ^ LAYOUT << 24) & 0xFFFFFFFF)


def newest(file: int, base: int, shape: Shape) -> int:
    """The sequence number of the newest entry; 0 if there is none."""
    data = os.pread(file, _HEAD.size, base + shape.head)
    head = _HEAD.unpack(data)[0] if len(data) == _HEAD.size else 0
    return head & _NUMBER if head >> 56 == LAYOUT else 0


class RingFile:
    """The file of the rings as a reader sees it. Any thread may call it.

    :param file: its descriptor.
    """

    def __init__(self, file: int) -> None:
        self.file = file
        self._memory = self._mapped()

    def _mapped(self) -> mmap:
        return mmap(self.file, os.fstat(self.file).st_size, access=ACCESS_READ)

    def memory(self) -> mmap:
        """A map of the whole file. Only what has been written may be read: a hole would take memory."""
        if len(self._memory) < os.fstat(self.file).st_size:  # a worker has begun another region
            self._memory = self._mapped()
        return self._memory


def newest_first(
    rings: RingFile,
    base: int,
    shape: Shape,
    needles: Sequence[bytes] = (),
    is_older: Callable[[bytes], bool] | None = None,
    marked: Marked = ALL,
) -> Iterator[bytes]:
    """Yield the bodies of a ring's entries, the newest first. It reads a part at a time, as they are asked
    for.

    An entry that is overwritten meanwhile is left out.

    :param needles: texts that a body must contain. Parts of the ring without them cost next to nothing.
    :param is_older: whether a body is old enough. Newer ones are left out, except for a few.
    :param marked: which entries are read at all.
    """
    last = newest(rings.file, base, shape)
    kept = range(max(1, last - shape.entries + 1), last + 1)
    if is_older is not None:
        last = min(last, _newest_older(rings, base, shape, kept, is_older))
    yield from numbered(rings, base, shape, range(kept.start, last + 1), needles, marked)


def numbered(
    rings: RingFile,
    base: int,
    shape: Shape,
    numbers: range,
    needles: Sequence[bytes] = (),
    marked: Marked = ALL,
) -> Iterator[bytes]:
    """Yield the bodies of the entries with these sequence numbers, as :func:`newest_first` does.

    :param numbers: of entries that have been written, and not more of them than the ring has.
    """
    memory, number = rings.memory(), numbers.stop - 1
    while number >= numbers.start:
        last = number % shape.entries
        count = min(max(1, _PART // shape.size), last + 1, number - numbers.start + 1)
        begin = base + shape.start + (last - count + 1) * shape.size
        first, number = number - count + 1, number - count
        places = _with_mark(memory, begin, shape.size, count, marked)
        for needle in needles:
            found = _with_text(memory, begin, shape.size, count, needle) if places else ()
            places = [place for place in places if place in found]
        for place in reversed(places):
            if (body := _body(memory, begin + place * shape.size, shape, first + place)) is not None:
                yield body


def _with_text(memory: mmap, begin: int, size: int, count: int, text: bytes) -> set[int]:
    """Which of the entries have the text, by their place among them.

    Python compares the first byte of the text when it searches backwards, and the last one forwards. The
    first byte of a field is a length, which is rarer than a letter: that takes half the time.
    """
    places, end = set(), begin + count * size
    while (at := memory.rfind(text, begin, end)) >= 0:
        place = (at - begin) // size
        if at + len(text) <= begin + (place + 1) * size:
            places.add(place)
            end = begin + place * size
        else:  # over the edge of two entries
            end = at + len(text) - 1
    return places


def _with_mark(memory: mmap, begin: int, size: int, count: int, marked: Marked) -> Sequence[int]:
    """Which of the entries have such a mark, by their place among them, in order."""
    if marked is ALL:
        return range(count)
    with memoryview(memory) as whole, whole[begin : begin + count * size] as part, part.cast("H") as words:
        marks = words[_MARK :: size // 2].tolist()
    mask, value = marked
    return [place for place, mark in enumerate(marks) if mark & mask == value]


def _newest_older(
    rings: RingFile, base: int, shape: Shape, numbers: range, is_older: Callable[[bytes], bool]
) -> int:
    """The number of an entry a little newer than the newest one that is old enough."""
    memory = rings.memory()

    def is_newer(number: int) -> bool:
        body = _body(memory, base + shape.start + number % shape.entries * shape.size, shape, number)
        return body is not None and not is_older(body)

    return numbers.start + bisect_left(numbers, True, key=is_newer) - 1 + _DISORDER


def _body(memory: mmap, place: int, shape: Shape, number: int) -> bytes | None:
    """The body of the entry with that number; ``None`` if another one or a damaged one is in its place."""
    found, checksum, length, _ = _ENTRY.unpack_from(memory, place)
    body = memory[place + _ENTRY.size : place + _ENTRY.size + length]
    fits = found == number and length <= shape.longest
    return body if fits and _checksum(number, body) == checksum else None


def decoded(bodies: Iterator[bytes], decode: Callable[[bytes], Entry]) -> Iterator[Entry]:
    """Decode the bodies, and leave out those that other code wrote."""
    for body in bodies:
        try:
            yield decode(body)
        except msgspec.MsgspecError:
            continue
