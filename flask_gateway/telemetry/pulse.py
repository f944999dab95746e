"""Counts requests in time, for the operator's page: in all and per upstream, by 10 s and by 5 min.

Each worker adds to buckets of its own region, and a reader adds up those of all workers. A bucket begins with
the number of its period; a bucket of an older period counts as empty. Times are kept in classes, so a
percentile is an estimate.
"""

from __future__ import annotations

import math
import os
import struct
import threading
from bisect import bisect_left
from collections.abc import Iterable
from functools import lru_cache
from itertools import accumulate, count
from mmap import mmap
from typing import NamedTuple

from .recent import EndKind
from .request_record import RequestRecord

#: The version of the layout, part of each bucket's first word.
LAYOUT = 1
#: The upper bounds of the classes of time, seconds: each 1.5 times the one before. The last class has no
#: bound.
BOUNDS = tuple(0.02 * 1.5**step for step in range(23))
KINDS = tuple(EndKind)
#: The places of the counts in a bucket: after its period one for each kind, then the tokens, then the
#: classes.
_PROMPT, _COMPLETION, _CLASSES = 1 + len(KINDS), 2 + len(KINDS), 3 + len(KINDS)
WORDS = _CLASSES + len(BOUNDS) + 1
#: Rows: all requests, and one for each of so many upstreams.
ROWS = 32
#: Bytes of the name of an upstream.
_NAME = 128


class Resolution(NamedTuple):
    """Buckets of one length. :param first: the number of buckets before them in a row."""

    seconds: int
    buckets: int
    first: int


FINE, COARSE = Resolution(10, 180, 0), Resolution(300, 288, 180)
_BUCKETS = FINE.buckets + COARSE.buckets
_ROW = 8 * WORDS * _BUCKETS
#: The bytes of the counts in a region: the names, then the rows.
LENGTH = _NAME * ROWS + _ROW * ROWS


class Counts(NamedTuple):
    """The requests of one period. ``classes``: answers by the class of their time to the first byte."""

    at: int
    ok: int = 0
    failed: int = 0
    refused: int = 0
    left: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    classes: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)

    @property
    def requests(self) -> int:
        return self.ok + self.failed + self.refused + self.left


#: Where requests are counted: the row of the upstream that answered, 0 without one; the period of 10 s, the
#: word of the kind, and that of the class of time, 0 without a first byte. They are counted in all, too, but
#: not an attempt that another one followed: it has this in place of the class.
_Place = tuple[int, int, int, int]
_ATTEMPT = -1


class PulseWriter:
    """Adds requests to the buckets of this worker's region. All threads of the process share it.

    :param memory: maps the region. :param start: where the counts begin in it. :param base: of the region.
    """

    def __init__(self, memory: mmap, file: int, base: int, start: int) -> None:
        self._memory, self._file, self._base, self._start = memory, file, base, start
        self._lock = threading.Lock()
        self._words = memoryview(memory)[start + _NAME * ROWS : start + LENGTH].cast("Q")
        self._rows: dict[str, int] = {}
        self._whole = self._allocate(0, _NAME * ROWS) and self._open_row("", 0)
        if self._whole:
            self._rows |= {name: row for row, name in enumerate(_names(file, base + start)) if name}

    def count(self, ended: Iterable[tuple[RequestRecord, EndKind, float]]) -> None:
        """Count finished requests: in all, and for each upstream that was asked. Others are no calls.

        :param ended: each with how and when it ended, seconds since the epoch.
        """
        if not self._whole:
            return
        with self._lock:
            sums: dict[_Place, list[int]] = {}
            for record, ending, now in ended:
                if record.outcome is not None or ending is not EndKind.OK:  # a call, or a refusal
                    self._sum(sums, record, ending, int(now) // FINE.seconds)
            for (row, period, kind, time_class), total in sums.items():
                for one in (row, 0) if row and time_class != _ATTEMPT else (row,):
                    for scale in (FINE, COARSE):
                        self._add((one, period, kind, time_class), scale, *total)

    def _sum(self, sums: dict[_Place, list[int]], record: RequestRecord, kind: EndKind, period: int) -> None:
        """Add a request to the sums of its batch: a place has few of them, and each costs a batch once."""
        first, usage, attempts, row = record.first_byte, record.usage, record.attempts, 0
        for attempt in attempts:
            row = self._rows.get(attempt.upstream) or self._open(attempt.upstream)
            if attempt is attempts[-1] and attempt.upstream == record.upstream:
                break
            if row:  # it failed, and was asked again, or another one was
                sums.setdefault((row, period, _FAILED, _ATTEMPT), [0, 0, 0])[0] += 1
            row = 0
        place = row, period, _PLACES[kind], 0 if first is None else _CLASSES + bisect_left(BOUNDS, first)
        if (total := sums.get(place)) is None:
            sums[place] = total = [0, 0, 0]
        total[0] += 1
        if usage is not None:
            total[1] += usage.prompt_tokens
            total[2] += usage.completion_tokens

    def _add(self, place: _Place, scale: Resolution, number: int, prompt: int, completion: int) -> None:
        (row, fine, kind, time_class), words = place, self._words
        period = fine * FINE.seconds // scale.seconds
        start = (row * _BUCKETS + scale.first + period % scale.buckets) * WORDS
        if words[start] != (stamp := LAYOUT << 56 | period):
            words[start : start + WORDS] = _EMPTY
            words[start] = stamp
        words[start + kind] += number
        words[start + _PROMPT] += prompt
        words[start + _COMPLETION] += completion
        if time_class > 0:
            words[start + time_class] += number

    def _open(self, upstream: str) -> int:
        """Take a row for an upstream; 0 if all are taken, or the machine has no memory."""
        row = len(self._rows) + 1
        if row >= ROWS or not self._open_row(upstream, row):
            return 0
        self._rows[upstream] = row
        return row

    def _open_row(self, name: str, row: int) -> bool:
        if not self._allocate(_NAME * ROWS + row * _ROW, _ROW):
            return False
        if name:
            place = self._start + row * _NAME
            self._memory[place : place + _NAME] = _packed(name)
        return True

    def _allocate(self, place: int, length: int) -> bool:
        try:
            os.posix_fallocate(self._file, self._base + self._start + place, length)
        except OSError:
            return False
        return True


_PLACES = {kind: 1 + place for place, kind in enumerate(KINDS)}
_FAILED = _PLACES[EndKind.FAILED]
_BUCKET = struct.Struct(f"<{WORDS}Q")
#: The period of a bucket; and that with its counts of each kind.
_STAMP = struct.Struct(f"<Q{8 * (WORDS - 1)}x")
_ENDED = struct.Struct(f"<{1 + len(KINDS)}Q{8 * (WORDS - 1 - len(KINDS))}x")
_EMPTY = memoryview(bytes(8 * WORDS)).cast("Q")


def _packed(name: str) -> bytes:
    data = name.encode("utf-8", "replace")[: _NAME - 1]
    return bytes([len(data)]) + data.ljust(_NAME - 1, b"\0")


def _names(file: int, place: int) -> list[str]:
    """The upstream of each row; empty for rows without one."""
    data = os.pread(file, _NAME * ROWS, place).ljust(_NAME * ROWS, b"\0")
    rows = (data[start : start + _NAME] for start in range(0, len(data), _NAME))
    return [row[1 : 1 + row[0]].decode("utf-8", "replace") for row in rows]


def read(file: int, places: Iterable[int], upstream: str, scale: Resolution, now: float) -> list[Counts]:
    """Add up what all workers have counted, a period at a time, the oldest first and up to now.

    :param places: where the counts of each worker begin in the file.
    :param upstream: its name; empty for all requests.
    """
    last = int(now) // scale.seconds
    found: dict[int, list[bytes]] = {period: [] for period in range(last - scale.buckets + 1, last + 1)}
    for place in places:
        for row, name in enumerate(_names(file, place)):
            if name == upstream and (row == 0) == (not upstream):
                _find_row(found, file, place + _NAME * ROWS + row * _ROW, scale)
    return [_counts(period * scale.seconds, *buckets) for period, buckets in found.items()]


def _find_row(found: dict[int, list[bytes]], file: int, place: int, scale: Resolution) -> None:
    """Add the buckets of a row to those of their periods."""
    data = os.pread(file, _BUCKET.size * scale.buckets, place + _BUCKET.size * scale.first)
    for start, (stamp,) in zip(count(0, _BUCKET.size), _STAMP.iter_unpack(_whole(data)), strict=False):
        if (buckets := found.get(_period(stamp))) is not None:
            buckets.append(data[start : start + _BUCKET.size])


@lru_cache(maxsize=1024)
def _counts(at: int, *buckets: bytes) -> Counts:
    """Add up the buckets of a period. Most periods are over, and a page asks for them again and again."""
    if not buckets:
        return Counts(at)
    words = [sum(values) for values in zip(*map(_BUCKET.unpack, buckets), strict=True)]
    return Counts._make((at, *words[1:_CLASSES], tuple(words[_CLASSES:])))


def read_upstreams(file: int, places: Iterable[int], now: float, periods: int = 6) -> dict[str, Counts]:
    """Add up how the requests of each upstream ended in the last periods of 5 min, over all workers.

    It reads these buckets alone, because a page asks for all upstreams at once.
    """
    last = int(now) // COARSE.seconds
    wanted = range(last - periods + 1, last + 1)
    sums: dict[str, tuple[int, ...]] = {}
    for place in places:
        for row, name in enumerate(_names(file, place)):
            if row and name:
                at = place + _NAME * ROWS + row * _ROW
                sums[name] = _with_last(sums.get(name, _NO_REQUESTS), file, at, wanted)
    start = wanted.start * COARSE.seconds
    return {name: Counts._make((start, *ended, 0, 0, _NO_CLASSES)) for name, ended in sums.items()}


_NO_REQUESTS, _NO_CLASSES = (0,) * len(KINDS), (0,) * (len(BOUNDS) + 1)


def _with_last(total: tuple[int, ...], file: int, place: int, periods: range) -> tuple[int, ...]:
    """The sums with the buckets of 5 min of a row that are of these periods, which follow each other."""
    first = periods.start % COARSE.buckets
    after = min(len(periods), COARSE.buckets - first)  # the rest is at the beginning of the row
    for begin, number in ((first, after), (0, len(periods) - after)):
        start = place + _BUCKET.size * (COARSE.first + begin)
        data = os.pread(file, _BUCKET.size * number, start) if number else b""
        for stamp, *ended in _ENDED.iter_unpack(_whole(data)):
            if _period(stamp) in periods:
                total = tuple(map(int.__add__, total, ended))
    return total


def _whole(data: bytes) -> bytes:
    """The whole buckets of what was read: the file may end before."""
    return data if len(data) % _BUCKET.size == 0 else data[: -(len(data) % _BUCKET.size)]


def _period(stamp: int) -> int:
    """The period of a bucket; -1 if other code wrote it, or nothing."""
    return stamp & (1 << 56) - 1 if stamp >> 56 == LAYOUT else -1


def added(counts: Iterable[Counts]) -> Counts:
    """Add up periods; ``at`` is the first one's."""
    periods = list(counts)
    if not periods:
        return Counts(0)
    sums = (sum(values) for values in zip(*(one[1:-1] for one in periods), strict=True))
    classes = tuple(map(sum, zip(*(one.classes for one in periods), strict=True)))
    return Counts._make((periods[0].at, *sums, classes))


@lru_cache(maxsize=2048)
def percentile(classes: tuple[int, ...], share: float) -> float | None:
    """Estimate a percentile, seconds; ``None`` if nothing was counted. Within a class it interpolates.

    :param share: 0 to 1.
    """
    sums = [*accumulate(classes, initial=0)]
    if not (wanted := share * sums[-1]):
        return None
    place = bisect_left(sums, wanted) - 1
    low, high = _EDGES[place : place + 2]
    if high == math.inf:
        return low
    return low + (high - low) * (wanted - sums[place]) / classes[place]


_EDGES = (0.0, *BOUNDS, math.inf)
