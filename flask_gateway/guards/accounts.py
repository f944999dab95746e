"""Holds and settles the money of calls in accounts of the store, and opens accounts from the ledger.

The changes are pure (``account_changes.py``). ``Accounts`` applies them, and counts what this process holds.
Like ``leases.py`` it renews its rows, restores rows that the store has lost, and takes back a row that it
restored for a call that had ended meanwhile.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple
from weakref import WeakSet

from ..model.calendar_windows import Calendar
from ..model.spend import BooksUnknown, Hold
from ..reactor import Periodic
from ..state.store import SECOND, Store, state_key
from ..state.together import StoreUpdate, TogetherStore, is_copied
from .account_changes import (
    MARK_BITS,
    TTL,
    UNVERIFIED,
    AccountView,
    PerWindow,
    Renew,
    RenewResult,
    Reservation,
    Reserve,
    ReserveResult,
    Settle,
    Settlement,
    View,
    forget_doubted,
)
from .allotments import LASTS, Allotments
from .leases import RENEWAL
from .openings import CURRENT, DOUBTED, MOST_LAG, PATIENCE, Balances, Openings, account_key

log = logging.getLogger(__name__)

#: How often a call opens an account that others close.
_TRIES = 3
_CLOSED, _RESERVED, _REFUSED = ReserveResult.CLOSED, ReserveResult.RESERVED, ReserveResult.REFUSED
#: Holds are left to a bookkeeper whose last turn ended at most so long ago, microseconds.
_LIVE = 2 * SECOND
#: And only where no window ends within so many seconds.
_NEXT_WINDOW = 5.0


class Allotted:
    """An allotment as the calls see it that draw on it.

    :param reservation: the one that took it. :param defers: whether the ledger may settle their holds.
    :ivar headers: that show what is left behind it; empty until the first of them has made them.
    """

    __slots__ = ("defers", "headers", "reservation")

    def __init__(self, reservation: Reservation, defers: bool) -> None:
        self.reservation = reservation
        self.defers = defers
        self.headers: Mapping[str, str] = {}


class Held(NamedTuple):
    """An amount that is held, or a refusal: then ``hold`` is ``None``.

    :param allotted: where it was drawn on an allotment.
    """

    reservation: Reservation
    hold: Hold | None
    allotted: Allotted | None = None


class Accounts:
    """The accounts, as one process uses them. Threads share it.

    ``_lock`` guards what this process holds. No thread holds it during a call of the store. A forked process
    holds nothing.

    :param clock: epoch seconds. :param unverified: called when an account opens without the ledger.
    """

    def __init__(
        self,
        store: Store,
        balances: Balances,
        calendar: Calendar,
        clock: Callable[[], float] = time.time,
        unverified: Callable[[], None] = lambda: None,
        patience: float = PATIENCE,
    ) -> None:
        self._store = store
        self._together = store if isinstance(store, TogetherStore) else None
        self.calendar = calendar
        self.clock = clock
        self._openings = Openings(store, balances, calendar, lambda: self.clock(), unverified, patience)
        self._begin()
        store.watch(CURRENT, lax=True)
        _all.add(self)

    def _begin(self) -> None:
        holders = getattr(self._store, "holders", None)
        #: Whether the processes of this machine, so the bookkeeper too, share the accounts.
        self._shared = holders is not None
        self._holder = holders.own() if holders is not None else secrets.randbits(MARK_BITS) + 1
        self._lock = threading.Lock()
        #: By key and epoch.
        self._held: dict[tuple[str, int], int] = {}
        #: The amounts that this process holds for later calls. They are in ``_held``, too.
        self.allotments: Allotments[Allotted] = Allotments("allotments", self._release)
        self._keeper = Periodic("accounts", RENEWAL, self.keep)

    def reserve(self, subject: str, limits: PerWindow, amount: int, *, strict: bool) -> Held:
        """Hold an amount if every limited window has room for it.

        :param limits: nano-dollars, as of :class:`Reserve`.
        :param strict: refuse where the ledger is not known.
        :raises BooksUnknown: it is strict, and what was used is not known.
        """
        key = account_key(subject)
        if self._together is not None:
            if self._openings.take(self._together, subject, key):
                self._keeper.call_soon()
                self._keeper.start()
            if self._together.copied(key):
                return self._reserve_one(subject, key, limits, amount, strict=strict)
        if not strict and (drawn := self.allotments.draw(key, limits, amount)):
            allotted, reservation = drawn.grant, drawn.grant.reservation
            return Held(reservation, Hold(subject, self._holder, reservation.epoch, amount), allotted)
        more = 0 if strict else self.allotments.wanted(key, amount)
        if more and (taken := self._allot(key, limits, amount, more)):
            return Held(taken, Hold(subject, self._holder, taken.epoch, amount))
        return self._reserve_one(subject, key, limits, amount, strict=strict)

    def _reserve_one(self, subject: str, key: str, limits: PerWindow, amount: int, *, strict: bool) -> Held:
        """Hold the amount of one call. :raises BooksUnknown: as :meth:`reserve`."""
        reservation = self._reserve(key, limits, amount)
        if reservation.result is _CLOSED and is_copied(self._store, key):
            self._openings.refuse(subject, key)
        tries = 1
        while reservation.result is _CLOSED:
            if tries == _TRIES:
                raise BooksUnknown(f"the account of {subject} does not stay open")
            self._openings.open(subject, strict=strict)
            reservation, tries = self._reserve(key, limits, amount), tries + 1
        self.allotments.reserved(key, reservation.left)
        if reservation.result is _REFUSED:
            return Held(reservation, None)
        hold = Hold(subject, self._holder, reservation.epoch, amount)
        if strict and reservation.mark & UNVERIFIED:
            self.settle_of(hold, 0)
            raise BooksUnknown(f"the account of {subject} was opened without the ledger")
        self._keep(key, hold.epoch, amount)
        return Held(reservation, hold)

    def _allot(self, key: str, limits: PerWindow, amount: int, more: int) -> Reservation | None:
        """Hold the amounts of this call and of the next ones; ``None``: there is no room."""
        until = self.allotments.clock() + LASTS
        reservation = self._reserve(key, limits, amount + more)
        if reservation.result is not _RESERVED:
            return None
        self._keep(key, reservation.epoch, amount + more)
        granted = Allotted(reservation, self._may_defer(key, reservation.mark))
        self.allotments.take(key, limits, granted, reservation.epoch, more, reservation.left, until)
        return reservation

    def _keep(self, key: str, epoch: int, amount: int) -> None:
        """Note an amount that this process holds now, to be renewed."""
        if is_copied(self._store, key):
            return
        place, held = (key, epoch), self._held
        with self._lock:
            held[place] = held.get(place, 0) + amount
        if not self._keeper.running:
            self._keeper.start()

    def _drop(self, key: str, epoch: int, amount: int) -> None:
        if is_copied(self._store, key):
            return
        place, held = (key, epoch), self._held
        with self._lock:
            left = held.get(place, 0) - amount
            if left > 0:
                held[place] = left
            else:
                held.pop(place, None)

    def _release(self, key: str, epoch: int, amount: int) -> None:
        """Give back the rest of an allotment."""
        self._make(self._settle_step(key, (self._holder, epoch, amount), 0))
        self._drop(key, epoch, amount)

    def _may_defer(self, key: str, mark: int) -> bool:
        """Whether the bookkeeper may settle holds in this account for this process, as it does for dead ones.

        It must share the store, run now, and count in the windows in which the costs are written down.
        """
        turned = self._store.read(CURRENT) if self._shared and not mark & UNVERIFIED else None
        if turned is None or self._store.now() - turned[0] > _LIVE or self._store.status().degraded:
            return False
        wall = self.clock()
        starts, value = self.calendar.starts(wall), self._store.read(key)
        return (
            value is not None
            and (value[1], value[4], value[7], value[10]) == starts
            and self.calendar.starts(wall + _NEXT_WINDOW) == starts
        )

    def _reserve(self, key: str, limits: PerWindow, amount: int) -> Reservation:
        wall = self.clock()
        change = Reserve(self._holder, self.calendar.starts(wall), limits, amount, wall)
        reservation = self._store.update(key, change, TTL)
        if self._together is not None and reservation.result is not _CLOSED:
            self._openings.know(key)
        return reservation

    def _reserve_step(self, key: str, limits: PerWindow, amount: int) -> StoreUpdate:
        wall = self.clock()
        change = Reserve(self._holder, self.calendar.starts(wall), limits, amount, wall)
        return StoreUpdate(key, change, TTL)

    def step(self, subject: str, limits: PerWindow, amount: int, *, strict: bool) -> list[StoreUpdate]:
        """The change that :meth:`reserve` makes first; none if it draws on an allotment.

        Where the account is not known to be open, another opens it before that.
        """
        key = account_key(subject)
        asked = amount if strict else self.allotments.foreseen(key, limits, amount)
        if not asked:
            return []
        opening = self._openings.step(subject, key, strict=strict)
        return [*opening, self._reserve_step(key, limits, asked)]

    def settle_step(self, hold: Hold, cost: int) -> StoreUpdate:
        """The change that :meth:`settle` makes."""
        return self._settle_step(account_key(hold.subject), (hold.holder, hold.epoch, hold.amount), cost)

    def _settle_step(self, key: str, held: tuple[int, int, int], cost: int) -> StoreUpdate:
        """:param held: the holder, the epoch of its row, and the amount."""
        wall = self.clock()
        return StoreUpdate(key, Settle(*held, cost, self.calendar.starts(wall), wall), TTL)

    def _make(self, step: StoreUpdate) -> Settlement:
        made: Settlement = self._store.update(step.key, step.change, step.ttl)
        return made

    def settle(self, hold: Hold, cost: int) -> Settlement:
        """End a hold and add what the call cost."""
        holder, epoch, amount = hold.holder, hold.epoch, hold.amount
        wall, key = self.clock(), account_key(hold.subject)
        try:
            change = Settle(holder, epoch, amount, cost, self.calendar.starts(wall), wall)
            return self._store.update(key, change, TTL)
        finally:
            # After the store's update: a row that is being restored meanwhile has too much for a moment,
            # never too little.
            self._drop(key, epoch, amount)

    def defer(self, hold: Hold) -> bool:
        """Leave the settlement of a hold to the bookkeeper, which finds it in the journal (``Settled.held``).

        It takes less than half a second. ``False``: settle it now.
        """
        key = account_key(hold.subject)
        allotted = self.allotments.current(key)
        if allotted is None or not allotted.defers:
            return False
        self._drop(key, hold.epoch, hold.amount)
        return True

    def settle_of(self, hold: Hold, cost: int) -> Settlement:
        """The same for a hold of a process that has ended."""
        return self._make(self.settle_step(hold, cost))

    def post(self, subject: str, cost: int) -> Settlement:
        """Add a cost that nothing was held for: one that did not reach the account, or a credit."""
        return self._openings.post(subject, cost)

    def open(self, subject: str) -> None:
        """Open a subject's account from the ledger. :raises BooksUnknown: it cannot be read."""
        self._openings.open(subject, strict=True)

    def view(self, subject: str) -> AccountView:
        """Show what a subject has used and holds: by its account, or else by the ledger.

        :raises BooksUnknown: there is no account, and the ledger cannot be read.
        """
        wall = self.clock()
        starts = self.calendar.starts(wall)
        view = self._store.update(account_key(subject), View(starts, wall), TTL)
        return view or AccountView(self._openings.balances.used(subject, starts), 0)

    def in_ledger(self, subject: str, at: float) -> list[tuple[int, int]]:
        """The windows of that time: the start of each, and what a subject has used in it by the ledger.

        :param at: epoch seconds. :raises BooksUnknown: it cannot be read.
        """
        starts = self.calendar.starts(at)
        return list(zip(starts, self._openings.balances.used(subject, starts), strict=True))

    def mark(self, subject: str) -> int:
        """The mark of a subject's account; 0 if there is none."""
        value = self._store.read(account_key(subject))
        return value[0] if value else 0

    def keep(self) -> None:
        """Renew what this process holds, and finish openings. The thread calls it."""
        self._openings.finish()
        with self._lock:
            held = dict(self._held)
        for (key, epoch), amount in held.items():
            wall = self.clock()
            change = Renew(self._holder, epoch, amount, wall, self.calendar.starts(wall))
            result = self._store.update(key, change, TTL)
            with self._lock:
                ended = amount - self._held.get((key, epoch), 0)
            if result is RenewResult.RESTORED and ended > 0:
                self._make(self._settle_step(key, (self._holder, epoch, ended), 0))

    def forget_doubted(self) -> int:
        """Forget the accounts that were opened without the ledger, now that it is known. Return how many.

        The next call opens them again.
        """
        if self._store.read(DOUBTED) is None:
            return 0
        self._store.update(DOUBTED, lambda old, now: (None, None), TTL)
        keys = [key for key, value in self._store.scan("money:") if value[0] & UNVERIFIED]
        return sum(self._store.update(key, forget_doubted, TTL) for key in keys)

    def posted(self, journal: str) -> int:
        """The offset up to which a bookkeeper has posted the lines of a journal."""
        value = self._store.read(state_key("posted", journal))
        return value[0] if value else 0

    def note_posted(self, journal: str, offset: int) -> None:
        """Note how far the lines of a journal have been posted, for a bookkeeper that takes over."""
        self._store.update(state_key("posted", journal), lambda old, now: ((offset,), None), TTL)

    def forget_all(self) -> None:
        """Forget every account. The next call opens it from the ledger; renewals bring back what is held."""
        for key, _ in list(self._store.scan("money:")):
            self._store.update(key, lambda old, now: (None, None), TTL)

    @property
    def are_current(self) -> bool:
        """Whether the ledger has everything that the journals had lately. At a start it does not yet."""
        return self._openings.are_current

    def now_current(self) -> None:
        """Note that the ledger has everything that the journals had. The bookkeeper calls it."""
        self._store.update(CURRENT, lambda old, now: ((now,), None), MOST_LAG)


#: All instances of this process, to be reset in a forked child.
_all: WeakSet[Accounts] = WeakSet()


def _forked() -> None:
    for accounts in list(_all):
        accounts._begin()


os.register_at_fork(after_in_child=_forked)
