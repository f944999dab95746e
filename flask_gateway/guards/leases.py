"""Counts the calls in flight over all workers, as leases of slots in a store.

The value of a key has one row per process that holds slots: ``holder, epoch, taken, expires``. A row is a
lease. So the number of rows does not grow with the number of slots, and no slot leaks.

* In a store of one machine a lease ends with its process (``state/processes.py``). The slots of a killed
  process are free at once. The slots of a stopped process stay taken.
* In Redis, processes of other machines are not visible. There a lease expires unless its process renews it.

The changes are pure. ``ConcurrencyLeases`` applies them and counts the slots of this process. It renews the
leases, restores rows that the store has lost, and repeats releases that did not reach the store.
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

from ..reactor import Periodic
from ..state.store import SECOND, Store, Value
from ..state.together import StoreUpdate, is_copied
from . import lease_scripts

log = logging.getLogger(__name__)

#: How long a row in Redis outlives its last renewal, and how often rows are renewed, seconds.
LEASE = 10.0
RENEWAL = 3.0
#: The most processes that can hold slots of one key; a store's value has no space for more.
MAX_ROWS = 75
#: How long :meth:`ConcurrencyLeases.taken` caches that a holder is alive, seconds.
BELIEVED = 1.0

_LEASE = int(LEASE * SECOND)
_NOBODY: frozenset[int] = frozenset()


class Lease(NamedTuple):
    """The slots of one process. ``epoch`` distinguishes its row from an earlier one that had expired."""

    holder: int
    epoch: int
    taken: int
    expires: int


def _live(value: Value | None, now: int, lease: int, ended: frozenset[int] = _NOBODY) -> list[Lease]:
    """Return the rows that still count. No row lasts longer than a lease, even if the clock was set back."""
    numbers, latest = value or (), now + lease
    return [
        Lease(numbers[at], numbers[at + 1], numbers[at + 2], min(numbers[at + 3], latest))
        for at in range(0, len(numbers) - 3, 4)
        if numbers[at + 3] > now and numbers[at] not in ended
    ]


def _value(rows: list[Lease]) -> Value | None:
    return tuple(chain.from_iterable(rows)) or None


class AcquireLease:
    """Takes one of ``limit`` slots (``state.store.Change``). Returns the row's epoch, or 0 if none is free.

    :param lease: microseconds. :param ended: holders whose rows no longer count.
    """

    script: ClassVar[str] = lease_scripts.ACQUIRE

    def __init__(
        self, limit: int, holder: int, lease: int | None = None, ended: frozenset[int] = _NOBODY
    ) -> None:
        self.limit = limit
        self.holder = holder
        self.lease = lease or _LEASE
        self.ended = ended

    def __call__(self, value: Value | None, now: int) -> tuple[Value | None, int]:
        rows, used, own = _live(value, now, self.lease, self.ended), 0, -1
        for place, row in enumerate(rows):
            used += row.taken
            if row.holder == self.holder:
                own = place
        if used >= self.limit or (own < 0 and len(rows) >= MAX_ROWS):
            return value, 0
        if own < 0:
            rows.append(Lease(self.holder, now, 1, now + self.lease))
        else:
            rows[own] = Lease(self.holder, rows[own].epoch, rows[own].taken + 1, now + self.lease)
        return _value(rows), rows[own].epoch

    @property
    def arguments(self) -> tuple[int, ...]:
        """The arguments of the Lua script."""
        return self.holder, self.lease, self.limit, MAX_ROWS

    def answer(self, ints: tuple[int, ...]) -> int:
        """Convert the Lua script's result."""
        return ints[0]

    def undone(self, epoch: int) -> ReleaseLease:
        """Return the change that releases the slot again. :param epoch: the answer."""
        return ReleaseLease(self.holder, epoch, 1, self.lease)

    def divided(self, among: int) -> AcquireLease:
        """Return the change for one of so many workers, when each enforces its share of the limit alone."""
        return AcquireLease(max(1, self.limit // among), self.holder)  # with a lease that expires


class ReleaseLease:
    """Releases slots (``state.store.Change``). Returns whether the row was there."""

    script: ClassVar[str] = lease_scripts.RELEASE

    def __init__(self, holder: int, epoch: int, count: int = 1, lease: int | None = None) -> None:
        self.holder = holder
        self.epoch = epoch
        self.count = count
        self.lease = lease or _LEASE

    def __call__(self, value: Value | None, now: int) -> tuple[Value | None, bool]:
        rows = _live(value, now, self.lease)
        for place, row in enumerate(rows):
            if row.holder == self.holder and row.epoch == self.epoch:
                # An empty row stays until it expires: the next call would only have to create it again.
                left = max(0, row.taken - self.count)
                rows[place] = Lease(row.holder, row.epoch, left, row.expires)
                return _value(rows), True
        return value, False

    @property
    def arguments(self) -> tuple[int, ...]:
        """The arguments of the Lua script."""
        return self.holder, self.lease, self.epoch, self.count

    def answer(self, ints: tuple[int, ...]) -> bool:
        """Convert the Lua script's result."""
        return bool(ints[0])


class RenewLease:
    """Renews a row (``state.store.Change``). A row that the store has lost is restored."""

    script: ClassVar[str] = lease_scripts.RENEW

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

    @property
    def arguments(self) -> tuple[int, ...]:
        """The arguments of the Lua script."""
        return self.row.holder, self.lease, self.row.epoch, self.row.taken, MAX_ROWS

    def answer(self, ints: tuple[int, ...]) -> None:
        """Answer nothing, as the Python does."""

    def divided(self, among: int) -> RenewLease:
        """Return the change for a fallback store, where the row expires."""
        return RenewLease(*self.row[:3])


class Holders(Protocol):
    """The processes that share a store which sees which of them are alive (``state.processes``)."""

    @property
    def lease(self) -> float: ...

    def own(self) -> int: ...

    def ended(self, number: int) -> bool: ...


class _Unseen:
    """Processes of several machines: each has a random number, and its leases expire."""

    @property
    def lease(self) -> float:
        return LEASE

    def own(self) -> int:
        return secrets.randbits(52) + 1  # exact in Lua, too

    def ended(self, number: int) -> bool:
        return False


class ConcurrencyLeases:
    """The slots of one process. All its threads share them.

    ``_lock`` guards the process's own counts. No thread holds it during a call of the store. A forked process
    starts without slots."""

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
        #: By key: how many slots this process holds, and the epoch of the last one.
        self._own: dict[str, tuple[int, int]] = {}
        #: By holder: until when it counts as alive without a new check.
        self._alive: dict[int, float] = {}
        # A separate thread and not the reactor's: a renewal may block on Redis, and timers must not wait.
        self._keeper = Periodic("leases", RENEWAL, self.keep)

    def acquire(self, key: str, limit: int) -> int:
        """Take one of ``limit`` slots. Return the epoch for its release, or 0 if no slot is free."""
        epoch = self._take(key, limit)
        if not epoch and (ended := self._ended(key)):
            epoch = self._take(key, limit, ended)
        return epoch if is_copied(self._store, key) else self.note(key, limit, epoch)

    def note(self, key: str, limit: int, epoch: int) -> int:
        """Count a slot that was taken in the store. Return its epoch, or 0 if none was free."""
        if epoch and self._note(key, epoch) > limit:
            # The store has lost slots that this process holds.
            self.release(key, epoch)
            return 0
        return epoch

    def _take(self, key: str, limit: int, ended: frozenset[int] = _NOBODY) -> int:
        lease = self._holders.lease
        return self._store.update(key, AcquireLease(limit, self._holder, int(lease * SECOND), ended), lease)

    def step(self, key: str, limit: int, *, optional: bool = False) -> StoreUpdate:
        """The change that :meth:`acquire` makes first."""
        lease = self._holders.lease
        change = AcquireLease(limit, self._holder, int(lease * SECOND))
        return StoreUpdate(key, change, lease, optional=optional)

    def release_step(self, key: str, epoch: int) -> StoreUpdate:
        """The change that :meth:`release` makes."""
        lease = self._holders.lease
        return StoreUpdate(key, ReleaseLease(self._holder, epoch, 1, int(lease * SECOND)), lease)

    def _note(self, key: str, epoch: int) -> int:
        """Count a slot that this process has taken. Return how many slots of the key it holds."""
        with self._lock:
            self._held[key, epoch] += 1
            count, last = self._own.get(key, (0, epoch))
            self._own[key] = count + 1, epoch
        if count and last != epoch:
            # The store has a new row for this process: restore the slots of the old one.
            self._keeper.call_soon()
        self._keeper.start()
        return count + 1

    def release(self, key: str, epoch: int) -> None:
        if is_copied(self._store, key):
            self._change_back(key, epoch, 1)
            return
        released = False
        try:
            released = self._change_back(key, epoch, 1)
        finally:
            # After the store's update: a row that is being restored meanwhile may get one slot too many,
            # which ``_owed`` corrects, but never one too few.
            with self._lock:
                self._held[key, epoch] -= 1
                if self._held[key, epoch] <= 0:
                    del self._held[key, epoch]
                count, last = self._own.pop(key)
                if count > 1:
                    self._own[key] = count - 1, last
                if not released:
                    self._owed[key, epoch] += 1

    def keep(self) -> None:
        """Renew the leases, and repeat the releases that failed.

        A release is repeated once. If the row is still missing, it has expired, or the store is unreachable
        and the row will expire."""
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
        """Return the slots of all live processes, as the store has them."""
        now = time.monotonic()
        return sum(row.taken for row in self._rows(key) if row.taken and self._lives(row.holder, now))

    def watch(self, key: str) -> None:
        """Note that calls are going to ask for :meth:`in_flight`."""
        self._store.watch(key, lax=True)

    def in_flight(self, key: str) -> int:
        """Return the slots of all processes, to find the least busy upstream.

        With Redis those of other processes are as they were at most 0.1 s before, if the key is watched.
        Those of this process are exact.
        """
        if not isinstance(self._holders, _Unseen):
            return self.taken(key)
        own, _ = self._own.get(key, (0, 0))
        return own + sum(row.taken for row in self._rows(key) if row.holder != self._holder)

    def _rows(self, key: str) -> list[Lease]:
        return _live(self._store.read(key), self._store.now(), int(self._holders.lease * SECOND))

    def _ended(self, key: str) -> frozenset[int]:
        """Return the holders of rows whose processes have ended."""
        if isinstance(self._holders, _Unseen):
            return _NOBODY
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


#: All instances of this process, to be reset in a forked child.
_all: WeakSet[ConcurrencyLeases] = WeakSet()


def _forked() -> None:
    for slots in list(_all):
        slots._begin()


os.register_at_fork(after_in_child=_forked)
