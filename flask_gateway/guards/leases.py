"""Slots: how many calls are under way at once, counted over all workers.

Under a key lies one row per process that holds slots: ``holder, epoch, taken, expires``. A row is a lease. So
there are few rows however many slots, and none that leaks.

* In a store of one machine a lease ends with its process (``stores/processes.py``). The slots of a killed
  process are free at once, those of a stopped one stay taken.
* In Redis the processes of other machines cannot be seen. There a lease expires unless its process renews it.

The changes are pure. ``ConcurrencyLeases`` carries them out, and knows what this process holds, so that it
can renew, put back what a store has lost, and make up for a release that a store in trouble did not get.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections import Counter
from itertools import chain
from typing import ClassVar, NamedTuple, Protocol
from weakref import WeakSet

from ..state.store import SECOND, Store, Value

log = logging.getLogger(__name__)

#: How long a row of Redis outlives its last renewal, and how often rows are renewed, seconds.
LEASE = 10.0
RENEWAL = 3.0
#: Processes that can hold slots of one key at the same time; a store's values are no longer.
MAX_ROWS = 75
#: For how long :meth:`ConcurrencyLeases.taken` believes that a holder lives, seconds.
BELIEVED = 1.0

_LEASE = int(LEASE * SECOND)
_NOBODY: frozenset[int] = frozenset()


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


class Lease(NamedTuple):
    """What one process holds. ``epoch`` tells its row from an earlier one that had run out."""

    holder: int
    epoch: int
    taken: int
    expires: int


def _live(value: Value | None, now: int, lease: int, ended: frozenset[int] = _NOBODY) -> list[Lease]:
    """The rows that still count. None lasts longer than a lease, even if the clock was set back."""
    numbers, latest = value or (), now + lease
    return [
        Lease(numbers[at], numbers[at + 1], numbers[at + 2], min(numbers[at + 3], latest))
        for at in range(0, len(numbers) - 3, 4)
        if numbers[at + 3] > now and numbers[at] not in ended
    ]


def _value(rows: list[Lease]) -> Value | None:
    return tuple(chain.from_iterable(rows)) or None


class AcquireLease:
    """Take one slot of ``limit`` (``core.Change``). Answers the row's epoch, or 0 when all are taken.

    :param lease: microseconds. :param ended: holders whose rows do not count any more.
    """

    script: ClassVar[str] = _ACQUIRE

    def __init__(
        self, limit: int, holder: int, lease: int | None = None, ended: frozenset[int] = _NOBODY
    ) -> None:
        self.limit = limit
        self.holder = holder
        self.lease = lease or _LEASE
        self.ended = ended

    def __call__(self, value: Value | None, now: int) -> tuple[Value | None, int]:
        rows, used, mine = _live(value, now, self.lease, self.ended), 0, -1
        for place, row in enumerate(rows):
            used += row.taken
            if row.holder == self.holder:
                mine = place
        if used >= self.limit or (mine < 0 and len(rows) >= MAX_ROWS):
            return value, 0
        if mine < 0:
            rows.append(Lease(self.holder, now, 1, now + self.lease))
        else:
            rows[mine] = Lease(self.holder, rows[mine].epoch, rows[mine].taken + 1, now + self.lease)
        return _value(rows), rows[mine].epoch

    @property
    def arguments(self) -> tuple[int, ...]:
        """What the twin is told."""
        return self.holder, self.lease, self.limit, MAX_ROWS

    def answer(self, ints: tuple[int, ...]) -> int:
        """What the twin's number means."""
        return ints[0]

    def divided(self, among: int) -> AcquireLease:
        """The share of one of so many, when each has to keep to the limit alone."""
        return AcquireLease(max(1, self.limit // among), self.holder)  # with a lease that runs out by itself


class ReleaseLease:
    """Give slots back (``core.Change``). The answer is whether the row was there."""

    script: ClassVar[str] = _RELEASE

    def __init__(self, holder: int, epoch: int, count: int = 1, lease: int | None = None) -> None:
        self.holder = holder
        self.epoch = epoch
        self.count = count
        self.lease = lease or _LEASE

    def __call__(self, value: Value | None, now: int) -> tuple[Value | None, bool]:
        rows = _live(value, now, self.lease)
        for place, row in enumerate(rows):
            if row.holder == self.holder and row.epoch == self.epoch:
                # An empty row is left to run out: the next call would only have to make it anew.
                left = max(0, row.taken - self.count)
                rows[place] = Lease(row.holder, row.epoch, left, row.expires)
                return _value(rows), True
        return value, False

    @property
    def arguments(self) -> tuple[int, ...]:
        """What the twin is told."""
        return self.holder, self.lease, self.epoch, self.count

    def answer(self, ints: tuple[int, ...]) -> bool:
        """What the twin's number means."""
        return bool(ints[0])


class RenewLease:
    """Keep what is held (``core.Change``). A row that the store has lost is put back as it was."""

    def __init__(self, holder: int, epoch: int, count: int, lease: int | None = None) -> None:
        self.row = Lease(holder, epoch, count, 0)
        self.lease = lease or _LEASE

    def __call__(self, value: Value | None, now: int) -> tuple[Value | None, None]:
        rows = _live(value, now, self.lease)
        for place, row in enumerate(rows):
            if row[:2] == self.row[:2]:
                rows[place] = row._replace(expires=now + self.lease)
                return _value(rows), None
        if len(rows) < MAX_ROWS:
            rows.append(self.row._replace(expires=now + self.lease))
        return _value(rows), None

    def divided(self, among: int) -> RenewLease:
        """The same for other state, where it runs out by itself."""
        return RenewLease(*self.row[:3])


class Holders(Protocol):
    """The processes that share a store, where it can be seen which of them live (``stores.processes``)."""

    @property
    def lease(self) -> float: ...

    def own(self) -> int: ...

    def ended(self, number: int) -> bool: ...


class _Unseen:
    """Processes of several machines: each is a random number, and a lease that runs out."""

    @property
    def lease(self) -> float:
        return LEASE

    def own(self) -> int:
        return secrets.randbits(52) + 1  # exact in Lua, too

    def ended(self, number: int) -> bool:
        return False


class ConcurrencyLeases:
    """The slots of one process. Shared by all its threads, its own counts guarded by ``_lock``, which is
    never held while the store is asked. A forked process begins without any."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._holders: Holders = getattr(store, "holders", None) or _Unseen()
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        self._holder = self._holders.own()
        self._lock = threading.Lock()
        self._held: Counter[tuple[str, int]] = Counter()
        self._owed: Counter[tuple[str, int]] = Counter()
        #: By key: how many of it this process holds, and the epoch of the last one.
        self._mine: dict[str, tuple[int, int]] = {}
        #: Until when a holder is believed to live.
        self._alive: dict[int, float] = {}
        self._keeper: threading.Thread | None = None
        self._now = threading.Event()

    def acquire(self, key: str, limit: int) -> int:
        """Take one of ``limit`` slots: the epoch to give it back with, or 0 if there is none."""
        epoch = self._take(key, limit)
        if not epoch and (ended := self._ended(key)):
            epoch = self._take(key, limit, ended)
        if epoch and self._note(key, epoch) > limit:
            # The store has forgotten slots that we hold.
            self.release(key, epoch)
            return 0
        return epoch

    def _take(self, key: str, limit: int, ended: frozenset[int] = _NOBODY) -> int:
        lease = self._holders.lease
        return self._store.update(key, AcquireLease(limit, self._holder, int(lease * SECOND), ended), lease)

    def _note(self, key: str, epoch: int) -> int:
        """Count a slot that we have taken. How many of its key we hold."""
        with self._lock:
            self._held[key, epoch] += 1
            count, last = self._mine.get(key, (0, epoch))
            self._mine[key] = count + 1, epoch
        if count and last != epoch:
            self._now.set()  # our row is another than before: put back what we hold
        self._start_keeper()
        return count + 1

    def release(self, key: str, epoch: int) -> None:
        found = False
        try:
            found = self._change_back(key, epoch, 1)
        finally:
            # After the store: while a row that was lost is being put back, it is rather with one slot too
            # many, for which ``_owed`` makes up, than with one too few.
            with self._lock:
                self._held[key, epoch] -= 1
                if self._held[key, epoch] <= 0:
                    del self._held[key, epoch]
                count, last = self._mine.pop(key)
                if count > 1:
                    self._mine[key] = count - 1, last
                if not found:
                    self._owed[key, epoch] += 1

    def keep(self) -> None:
        """Renew what is held, and give back what could not be given back before. A debt is tried once:
        if the row is still not there it has run out, or its store is away, and it will run out."""
        with self._lock:
            owed, self._owed = self._owed, Counter()
            held = dict(self._held)
        lease = self._holders.lease
        for (key, epoch), count in owed.items():
            self._change_back(key, epoch, count)
        for (key, epoch), count in held.items():
            self._store.update(key, RenewLease(self._holder, epoch, count, int(lease * SECOND)), lease)

    def _change_back(self, key: str, epoch: int, count: int) -> bool:
        lease = self._holders.lease
        return self._store.update(key, ReleaseLease(self._holder, epoch, count, int(lease * SECOND)), lease)

    def taken(self, key: str) -> int:
        """How many slots are taken, by all that live; for status pages, and to find the least busy."""
        now = time.monotonic()
        return sum(row.taken for row in self._rows(key) if row.taken and self._lives(row.holder, now))

    def _rows(self, key: str) -> list[Lease]:
        return _live(self._store.read(key), self._store.now(), int(self._holders.lease * SECOND))

    def _ended(self, key: str) -> frozenset[int]:
        """The holders among the rows that have ended."""
        holders = {row.holder for row in self._rows(key)} - {self._holder}
        return frozenset(filter(self._holders.ended, holders))

    def _lives(self, holder: int, now: float) -> bool:
        if holder == self._holder or self._alive.get(holder, 0.0) > now:
            return True
        if self._holders.ended(holder):
            return False
        if len(self._alive) > 4 * MAX_ROWS:
            self._alive.clear()
        self._alive[holder] = now + BELIEVED
        return True

    def _start_keeper(self) -> None:
        # A thread of its own and not the reactor's: a renewal may have to wait for Redis, a clock may not.
        if self._keeper is not None:
            return
        with self._lock:
            if self._keeper is None:
                keeper = threading.Thread(target=self._keep_on, name="slots", daemon=True)
                try:
                    keeper.start()
                except (RuntimeError, MemoryError):
                    return  # no thread to be had now; the next slot tries again
                self._keeper = keeper

    def _keep_on(self) -> None:
        while True:
            self._now.wait(RENEWAL)
            self._now.clear()
            try:
                self.keep()
            except Exception:
                log.exception("could not renew the leases")


#: All of this process, for a process that is forked from it.
_all: WeakSet[ConcurrencyLeases] = WeakSet()


def _forked() -> None:
    for slots in list(_all):
        slots._begin()


os.register_at_fork(after_in_child=_forked)
