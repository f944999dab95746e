"""Opens the rings of the operator's page: the last requests, counts in time, and notes.

Imported only where an admin's key is set. Under gunicorn they are in the master's file, so they outlive
workers and reloads. Under another server they are this process's.

A finished request waits for a tenth of a second, and a thread writes all that wait: in a batch, a request
costs a fifth of what it costs between two answers. A killed worker loses those that wait.
"""

from __future__ import annotations

import fcntl
import heapq
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from mmap import mmap

from ..reactor.while_any import WhileAny
from . import notes, page_memory, pulse, recent
from .pulse import Counts, PulseWriter, Resolution
from .recent import EndKind, RequestEntry, encoded, kind_of, mark_of
from .request_record import RequestRecord
from .rings import ALL, HEADS, Marked, RingFile, RingWriter, Shape, newest, newest_first, numbered

log = logging.getLogger(__name__)

#: The last requests, the last failed ones, so that a flood of successes washes none of them away, and the
#: notes.
RECENT = Shape(0, HEADS, 4096, 1024)
FAILURES = Shape(8, RECENT.end, 1024, 1024)
NOTES = Shape(16, FAILURES.end, 256, 1024)
_PULSE = NOTES.end
#: The bytes of a region, a multiple of any page size.
REGION = -(-(_PULSE + pulse.LENGTH) // 65536) * 65536
#: Where the first page of the file has the random bytes that all workers share.
_SECRET = 2048
#: The paths whose requests are not kept: those of the page and of admins' programs.
_OWN = ("/ui", "/admin/")
#: How long a finished request waits at most, seconds, and how many wait at most.
_WAIT, _BATCH = 0.1, 256
#: After how long no worker still writes a finished request, seconds.
_SETTLED = 5.0
#: How many of the last requests this process keeps decoded, while pages ask for them.
LATEST = 1000


class PageRings:
    """The rings of this machine. Every thread may call it.

    :param place: the file and the slot of this worker; ``None``: a new file.
    :raises OSError: the platform has no such memory, or none is left.
    """

    def __init__(self, place: tuple[int, int] | None = None) -> None:
        file, slot = place or (os.memfd_create("flask-gateway-page"), 0)
        self._file = os.dup(file) if place else file
        weakref.finalize(self, os.close, self._file)
        base = slot * REGION
        # It makes the file longer or leaves it. `ftruncate` could cut off what another worker has just begun.
        os.posix_fallocate(self._file, base + REGION - 1, 1)
        os.posix_fallocate(self._file, base, HEADS)
        memory = mmap(self._file, REGION, offset=base)
        self._rings = RingFile(self._file)
        #: Random bytes that all workers have, until the server ends.
        self.secret = _shared_secret(self._file)
        self._recent, self._failures, ring = (
            RingWriter(memory, self._file, base, shape) for shape in (RECENT, FAILURES, NOTES)
        )
        self._pulse = PulseWriter(memory, self._file, base, _PULSE)
        self._waiting: deque[tuple[float, RequestRecord]] = deque()
        self._writing = threading.Lock()
        #: Whether the thread writes those that wait without being started again.
        self._is_due = False
        self._thread = WhileAny("page-rings", _WAIT, self._write)
        #: The newest sequence numbers that have been read, by region, and the last requests.
        self._latest: tuple[Mapping[int, int], tuple[RequestEntry, ...]] = {}, ()
        #: Keeps a text for the operator.
        self.note = notes.NoteWriter(ring.append)
        #: When this process opened them, seconds since the epoch.
        self.opened = time.time()

    def observe(self, record: RequestRecord) -> None:
        """Keep a finished request (a ``request_record.Observer``). A thread writes it soon."""
        self._waiting.append((time.time(), record))
        if not self._is_due:
            self._is_due = True
            self._thread.start()
        elif len(self._waiting) >= _BATCH:
            self._write()

    def _write(self) -> bool:
        """Write all requests that wait. Returns whether there were any."""
        with self._writing:
            self._is_due = False  # before they are taken: a request that comes now starts the thread
            batch = [self._waiting.popleft() for _ in range(len(self._waiting))]
            ended = [(record, kind_of(record), now) for now, record in batch if _is_kept(record)]
            entries = [(_encoded(*one), mark_of(one[1], one[0].status), one[1]) for one in ended]
            kept = [one for one in entries if one[0]]
            self._recent.extend((body, mark) for body, mark, _ in kept)
            self._failures.extend((body, mark) for body, mark, kind in kept if kind is EndKind.FAILED)
            self._pulse.count(ended)
        return bool(batch)

    def _bases(self) -> range:
        """Where the regions begin. This worker's region is up to date then."""
        if self._waiting:
            self._write()
        return range(0, os.fstat(self._file).st_size, REGION)

    def entries(
        self, needles: Sequence[bytes] = (), before: float | None = None, marked: Marked = ALL
    ) -> Iterator[RequestEntry]:
        """Yield the last requests of all workers, the newest first; failed ones reach back further.

        :param needles: texts that an entry must contain (``recent.needle``). Others are not decoded.
        :param before: most that ended later are left out, seconds since the epoch.
        :param marked: which entries are read (``recent.marked_by``).
        """
        shapes = [(base, shape) for base in self._bases() for shape in (RECENT, FAILURES)]
        older = None if before is None else partial(recent.ended_before, before)
        return recent.merged(
            newest_first(self._rings, base, shape, needles, older, marked) for base, shape in shapes
        )

    def latest(self, most: int = LATEST) -> Sequence[RequestEntry]:
        """The last requests of all workers, the newest first. Each is decoded once: live pages ask often.

        :param most: how many, :data:`LATEST` at most.
        """
        before, known = self._latest  # before the numbers: another thread may set it to higher ones
        numbers = {base: newest(self._file, base, RECENT) for base in self._bases()}
        if numbers != before:
            fresh = self._between(before, numbers)
            if fresh and known and fresh[-1].at < known[0].at - _SETTLED:  # the clock has been set back
                known, fresh = (), self._between({}, numbers)
            # Threads write entries a little out of order.
            known = tuple(islice(heapq.merge(fresh, known, key=_newer), LATEST))
            self._latest = numbers, known
        return known[:most]

    def _between(self, before: Mapping[int, int], numbers: Mapping[int, int]) -> tuple[RequestEntry, ...]:
        """The last requests whose sequence numbers are higher than those before."""
        ranges = {
            base: range(max(before.get(base, 0), number - LATEST, 0) + 1, number + 1)
            for base, number in numbers.items()
        }
        read = recent.merged(numbered(self._rings, base, RECENT, one) for base, one in ranges.items())
        return tuple(islice(read, LATEST))

    def kept(self) -> int:
        """How many requests are kept, of those that are not only kept as failed ones."""
        return sum(min(newest(self._file, base, RECENT), RECENT.entries) for base in self._bases())

    def arrived(self) -> int:
        """How many requests have been kept since the start, also those that others have replaced since."""
        return sum(newest(self._file, base, RECENT) for base in self._bases())

    def notes(self) -> Iterator[notes.Note]:
        """Yield the notes of all workers, the newest first."""
        return notes.merged(newest_first(self._rings, base, NOTES) for base in self._bases())

    def counts(self, scale: Resolution, now: float, upstream: str = "") -> list[Counts]:
        """Add up the counts of all workers, the oldest period first.

        :param now: seconds since the epoch. :param upstream: its name; empty for all requests.
        """
        return pulse.read(self._file, (base + _PULSE for base in self._bases()), upstream, scale, now)

    def counts_of_upstreams(self, now: float) -> dict[str, Counts]:
        """How the requests of each upstream ended in the last 30 min, in steps of 5 min."""
        return pulse.read_upstreams(self._file, (base + _PULSE for base in self._bases()), now)


def _newer(entry: RequestEntry) -> float:
    return -entry.at


def _is_kept(record: RequestRecord) -> bool:
    return record.path is None or not record.path.startswith(_OWN)


def _encoded(record: RequestRecord, kind: EndKind, now: float) -> bytes:
    """The entry of a request; empty if it cannot be one."""
    try:
        return encoded(record, kind, now, RECENT.longest)
    except Exception:  # the others of the batch are kept
        log.exception("the request %r is not on the page", record.ids.request)
        return b""


def _shared_secret(file: int) -> bytes:
    """Random bytes in the first page of the file. The first worker makes them."""
    os.posix_fallocate(file, 0, HEADS)
    fcntl.lockf(file, fcntl.LOCK_EX)
    try:
        secret = os.pread(file, 32, _SECRET)
        if not any(secret):
            secret = os.urandom(32)
            os.pwrite(file, secret, _SECRET)
        return secret
    finally:
        fcntl.lockf(file, fcntl.LOCK_UN)


def open_rings() -> PageRings | None:
    """Open the rings, and keep warnings from now on; ``None`` where the machine has no such memory."""
    try:
        rings = PageRings(page_memory.attached)
    except (AttributeError, OSError):
        return None
    notes.keep_warnings(rings.note)
    return rings
