"""Slots: how many calls are under way at once, counted over all workers.

Under a key lies one row per process that holds slots: ``holder, epoch, taken, expires``. A row is a
lease: its process renews it while it holds any, and when the process is killed the row ends by itself.
So there are few rows however many slots, and none that leaks.

The changes are pure. ``Slots`` carries them out, and knows what this process holds, so that it can
renew, put back what a store has lost, and make up for a release that a store in trouble did not get.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import ClassVar, NamedTuple

from ..core import SECOND, Store, Value

log = logging.getLogger(__name__)

#: How long a row outlives its last renewal, and how often it is renewed, seconds.
LEASE = 10.0
RENEWAL = 3.0
#: Processes that can hold slots of one key at the same time; a store's values are no longer.
MAX_ROWS = 75

_LEASE = int(LEASE * SECOND)


#: The beginning of both twins for Redis (``stores.redis.Scripted``): the live rows, as ``_live``.
_ROWS = """
local holder, lease = arguments[1], arguments[2]
local value, rows, used, mine = load() or {}, {}, 0, nil
for at = 1, #value - 3, 4 do
  if value[at + 3] > now then
    local row = {value[at], value[at + 1], value[at + 2], math.min(value[at + 3], now + lease)}
    rows[#rows + 1] = row
    used = used + row[3]
    if row[1] == holder then mine = row end
  end
end
local function keep()
  local flat = {}
  for _, row in ipairs(rows) do
    for _, number in ipairs(row) do flat[#flat + 1] = number end
  end
  save(flat)
end
"""

_ACQUIRE = (
    _ROWS
    + """
local limit, most = arguments[3], arguments[4]
if used >= limit then return {0} end
if mine then
  mine[3], mine[4] = mine[3] + 1, now + lease
elseif #rows >= most then
  return {0}
else
  mine = {holder, now, 1, now + lease}
  rows[#rows + 1] = mine
end
keep()
return {mine[2]}
"""
)

_RELEASE = (
    _ROWS
    + """
if not mine or mine[2] ~= arguments[3] then return {0} end
mine[3] = math.max(0, mine[3] - arguments[4])
keep()
return {1}
"""
)


class Row(NamedTuple):
    """What one process holds. ``epoch`` tells its row from an earlier one that had run out."""

    holder: int
    epoch: int
    taken: int
    expires: int


def _live(value: Value | None, now: int) -> list[Row]:
    """The rows that still count. None lasts longer than a lease, even if the clock was set back."""
    numbers, latest = value or (), now + _LEASE
    return [
        Row(numbers[at], numbers[at + 1], numbers[at + 2], min(numbers[at + 3], latest))
        for at in range(0, len(numbers) - 3, 4)
        if numbers[at + 3] > now
    ]


def _value(rows: list[Row]) -> Value | None:
    return tuple(chain.from_iterable(rows)) or None


class Acquire:
    """Take one slot of ``limit`` (``core.Change``). Answers the row's epoch, or 0 when all are taken."""

    script: ClassVar[str] = _ACQUIRE

    def __init__(self, limit: int, holder: int) -> None:
        self.limit = limit
        self.holder = holder

    def __call__(self, value: Value | None, now: int) -> tuple[Value | None, int]:
        rows, used, mine = _live(value, now), 0, -1
        for place, row in enumerate(rows):
            used += row.taken
            if row.holder == self.holder:
                mine = place
        if used >= self.limit or (mine < 0 and len(rows) >= MAX_ROWS):
            return value, 0
        if mine < 0:
            rows.append(Row(self.holder, now, 1, now + _LEASE))
        else:
            rows[mine] = Row(self.holder, rows[mine].epoch, rows[mine].taken + 1, now + _LEASE)
        return _value(rows), rows[mine].epoch

    @property
    def arguments(self) -> tuple[int, ...]:
        """What the twin is told."""
        return self.holder, _LEASE, self.limit, MAX_ROWS

    def answer(self, ints: tuple[int, ...]) -> int:
        """What the twin's number means."""
        return ints[0]

    def divided(self, among: int) -> Acquire:
        """The share of one of so many, when each has to keep to the limit alone."""
        return Acquire(max(1, self.limit // among), self.holder)


class Release:
    """Give slots back (``core.Change``). The answer is whether the row was there."""

    script: ClassVar[str] = _RELEASE

    def __init__(self, holder: int, epoch: int, count: int = 1) -> None:
        self.holder = holder
        self.epoch = epoch
        self.count = count

    def __call__(self, value: Value | None, now: int) -> tuple[Value | None, bool]:
        rows = _live(value, now)
        for place, row in enumerate(rows):
            if row.holder == self.holder and row.epoch == self.epoch:
                # An empty row is left to run out: the next call would only have to make it anew.
                left = max(0, row.taken - self.count)
                rows[place] = Row(row.holder, row.epoch, left, row.expires)
                return _value(rows), True
        return value, False

    @property
    def arguments(self) -> tuple[int, ...]:
        """What the twin is told."""
        return self.holder, _LEASE, self.epoch, self.count

    def answer(self, ints: tuple[int, ...]) -> bool:
        """What the twin's number means."""
        return bool(ints[0])


class Renew:
    """Keep what is held (``core.Change``). A row that the store has lost is put back as it was."""

    def __init__(self, holder: int, epoch: int, count: int) -> None:
        self.row = Row(holder, epoch, count, 0)

    def __call__(self, value: Value | None, now: int) -> tuple[Value | None, None]:
        rows = _live(value, now)
        for place, row in enumerate(rows):
            if row[:2] == self.row[:2]:
                rows[place] = row._replace(expires=now + _LEASE)
                return _value(rows), None
        if len(rows) < MAX_ROWS:
            rows.append(self.row._replace(expires=now + _LEASE))
        return _value(rows), None


class Slots:
    """The slots of one process. Shared by all its threads, its own counts guarded by ``_lock``, which is
    never held while the store is asked. Made after the fork: the holder is this process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._holder = secrets.randbits(52) + 1  # exact in Lua, too
        self._lock = threading.Lock()
        self._held: Counter[tuple[str, int]] = Counter()
        self._owed: Counter[tuple[str, int]] = Counter()
        self._keeper: threading.Thread | None = None

    def acquire(self, key: str, limit: int) -> int:
        """Take one of ``limit`` slots: the epoch to give it back with, or 0 if there is none."""
        epoch = self._store.update(key, Acquire(limit, self._holder), LEASE)
        if epoch:
            with self._lock:
                self._held[key, epoch] += 1
            self._start_keeper()
        return epoch

    def release(self, key: str, epoch: int) -> None:
        with self._lock:
            left = self._held[key, epoch] - 1
            if left > 0:
                self._held[key, epoch] = left
            else:
                del self._held[key, epoch]
        if not self._store.update(key, Release(self._holder, epoch), LEASE):
            with self._lock:
                self._owed[key, epoch] += 1

    def keep(self) -> None:
        """Renew what is held, and give back what could not be given back before. A debt is tried once:
        if the row is still not there it has run out, or its store is away, and it will run out."""
        with self._lock:
            owed, self._owed = self._owed, Counter()
            held = dict(self._held)
        for (key, epoch), count in owed.items():
            self._store.update(key, Release(self._holder, epoch, count), LEASE)
        for (key, epoch), count in held.items():
            self._store.update(key, Renew(self._holder, epoch, count), LEASE)

    def taken(self, key: str) -> int:
        """How many slots are taken, by all; for status pages."""
        return sum(row.taken for row in _live(self._store.read(key), self._store.now()))

    def _start_keeper(self) -> None:
        # A thread of its own and not the watcher's: a renewal may have to wait for Redis, a clock may not.
        if self._keeper is not None:
            return
        with self._lock:
            if self._keeper is None:
                self._keeper = threading.Thread(target=self._keep_on, name="slots", daemon=True)
                self._keeper.start()

    def _keep_on(self) -> None:
        for _ in _every(RENEWAL):
            try:
                self.keep()
            except Exception:
                log.exception("could not renew the leases")


def _every(seconds: float) -> Iterator[None]:
    never = threading.Event()
    while not never.wait(seconds):
        yield
