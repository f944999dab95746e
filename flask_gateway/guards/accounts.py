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
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol
from weakref import WeakSet

from ..model.calendar_windows import Calendar
from ..model.spend import BooksUnknown, Hold
from ..reactor import Periodic
from ..state.store import Store, state_key
from .account_changes import (
    TTL,
    AccountView,
    Open,
    PerWindow,
    Renew,
    RenewResult,
    Reservation,
    Reserve,
    ReserveResult,
    Settle,
    Settlement,
    View,
)
from .leases import RENEWAL

log = logging.getLogger(__name__)

#: How long an opening waits for the books of a gateway that has just started, seconds.
PATIENCE = 1.0
_NOTHING: PerWindow = (0, 0, 0, 0)
#: How often a call opens an account that others close.
_TRIES = 3
#: Bits of an account's mark. The lowest is set where the ledger could not be read.
_MARK_BITS = 52
UNVERIFIED = 1
_CLOSED, _REFUSED = ReserveResult.CLOSED, ReserveResult.REFUSED
#: The store's keys: the ledger is up to date; some account was opened without it.
CURRENT, DOUBTED = "books:current", "books:doubted"
#: Without a turn of the bookkeeper for so long, what the ledger says is not known to be true, seconds.
MOST_LAG = 1800.0


class Balances(Protocol):
    """Reads the ledger."""

    def used(self, subject: str, starts: PerWindow) -> PerWindow:
        """Return what a subject has used in each window, nano-dollars.

        :raises BooksUnknown: the ledger cannot be read.
        """
        ...


class Held(NamedTuple):
    """An amount that is held, or a refusal: then ``hold`` is ``None``."""

    reservation: Reservation
    hold: Hold | None


#: Returns the store's key of a subject's account.
account_key = partial(state_key, "money")


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
        self._balances = balances
        self.calendar = calendar
        self.clock = clock
        self._unverified = unverified
        self._patience = patience
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        holders = getattr(self._store, "holders", None)
        self._holder = holders.own() if holders is not None else secrets.randbits(_MARK_BITS) + 1
        self._lock = threading.Lock()
        #: By key and epoch.
        self._held: dict[tuple[str, int], int] = {}
        self._keeper = Periodic("accounts", RENEWAL, self.keep)

    def reserve(self, subject: str, limits: PerWindow, amount: int, *, strict: bool) -> Held:
        """Hold an amount if every limited window has room for it.

        :param limits: nano-dollars, as of :class:`Reserve`.
        :param strict: refuse where the ledger is not known.
        :raises BooksUnknown: it is strict, and what was used is not known.
        """
        reservation = self._reserve(subject, limits, amount)
        tries = 1
        while reservation.result is _CLOSED:
            if tries == _TRIES:
                raise BooksUnknown(f"the account of {subject} does not stay open")
            self._open(subject, strict=strict)
            reservation, tries = self._reserve(subject, limits, amount), tries + 1
        if reservation.result is _REFUSED:
            return Held(reservation, None)
        hold = Hold(subject, self._holder, reservation.epoch, amount)
        if strict and reservation.mark & UNVERIFIED:
            self.settle_of(hold, 0)
            raise BooksUnknown(f"the account of {subject} was opened without the ledger")
        place, held = (account_key(subject), hold.epoch), self._held
        with self._lock:
            held[place] = held.get(place, 0) + amount
        if not self._keeper.running:
            self._keeper.start()
        return Held(reservation, hold)

    def _reserve(self, subject: str, limits: PerWindow, amount: int) -> Reservation:
        wall = self.clock()
        change = Reserve(self._holder, self.calendar.starts(wall), limits, amount, wall)
        return self._store.update(account_key(subject), change, TTL)

    def _open(self, subject: str, *, strict: bool) -> None:
        """:raises BooksUnknown: it is strict, and the ledger cannot be read."""
        wall = self.clock()
        starts, mark, bases = self.calendar.starts(wall), _mark(), _NOTHING
        current = self._wait_until_current()
        try:
            bases = self._balances.used(subject, starts)
            doubt = "" if current else "the journals have more than the ledger"
        except BooksUnknown as error:
            doubt = str(error)
        if doubt:
            if strict:
                raise BooksUnknown(doubt)
            mark |= UNVERIFIED
            self._note_doubt(subject, doubt)
        opened = self._store.update(account_key(subject), Open(mark, starts, bases, wall), TTL)
        if opened and not mark & UNVERIFIED:
            self._add_what_came_between(subject, starts, bases)

    def _wait_until_current(self) -> bool:
        deadline = time.monotonic() + self._patience
        while not self.are_current:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.01)
        return True

    def _note_doubt(self, subject: str, doubt: str) -> None:
        log.warning("the budget of %s begins with less than was perhaps used: %s", subject, doubt)
        self._store.update(DOUBTED, lambda old, now: ((now,), None), TTL)
        self._unverified()

    def _add_what_came_between(self, subject: str, starts: PerWindow, bases: PerWindow) -> None:
        """Count costs that the bookkeeper wrote after the balance was read and before the account was there:
        it did not see the account."""
        try:
            more = self._balances.used(subject, starts)[-1] - bases[-1]
        except BooksUnknown:
            return
        if more:
            self.post(subject, more)

    def settle(self, hold: Hold, cost: int) -> Settlement:
        """End a hold and add what the call cost."""
        subject, holder, epoch, amount = hold.subject, hold.holder, hold.epoch, hold.amount
        wall, key = self.clock(), account_key(subject)
        try:
            change = Settle(holder, epoch, amount, cost, self.calendar.starts(wall), wall)
            return self._store.update(key, change, TTL)
        finally:
            # After the store's update: a row that is being restored meanwhile has too much for a moment,
            # never too little.
            place, held = (key, epoch), self._held
            with self._lock:
                left = held.get(place, 0) - amount
                if left > 0:
                    held[place] = left
                else:
                    held.pop(place, None)

    def settle_of(self, hold: Hold, cost: int) -> Settlement:
        """The same for a hold of a process that has ended."""
        wall = self.clock()
        change = Settle(hold.holder, hold.epoch, hold.amount, cost, self.calendar.starts(wall), wall)
        return self._store.update(account_key(hold.subject), change, TTL)

    def post(self, subject: str, cost: int) -> Settlement:
        """Add a cost that nothing was held for: one that did not reach the account, or a credit."""
        return self.settle_of(Hold(subject, 0, 0, 0), cost)

    def view(self, subject: str) -> AccountView:
        """Show what a subject has used and holds: by its account, or else by the ledger.

        :raises BooksUnknown: there is no account, and the ledger cannot be read.
        """
        wall = self.clock()
        starts = self.calendar.starts(wall)
        view = self._store.update(account_key(subject), View(starts, wall), TTL)
        return view or AccountView(self._balances.used(subject, starts), 0)

    def mark(self, subject: str) -> int:
        """The mark of a subject's account; 0 if there is none."""
        value = self._store.read(account_key(subject))
        return value[0] if value else 0

    def keep(self) -> None:
        """Renew what this process holds. The thread calls it."""
        with self._lock:
            held = dict(self._held)
        for (key, epoch), amount in held.items():
            wall = self.clock()
            change = Renew(self._holder, epoch, amount, wall, self.calendar.starts(wall))
            result = self._store.update(key, change, TTL)
            with self._lock:
                ended = amount - self._held.get((key, epoch), 0)
            if result is RenewResult.RESTORED and ended > 0:
                wall = self.clock()
                excess = Settle(self._holder, epoch, ended, 0, self.calendar.starts(wall), wall)
                self._store.update(key, excess, TTL)

    def forget_doubted(self) -> int:
        """Forget the accounts that were opened without the ledger, now that it is known. Return how many.

        The next call opens them again.
        """
        if self._store.read(DOUBTED) is None:
            return 0
        self._store.update(DOUBTED, lambda old, now: (None, None), TTL)
        keys = [key for key, value in self._store.scan("money:") if value[0] & UNVERIFIED]
        return sum(self._store.update(key, _forget_doubted, TTL) for key in keys)

    def forget_all(self) -> None:
        """Forget every account. The next call opens it from the ledger; renewals bring back what is held."""
        for key, _ in list(self._store.scan("money:")):
            self._store.update(key, lambda old, now: (None, None), TTL)

    @property
    def are_current(self) -> bool:
        """Whether the ledger has everything that the journals had lately. At a start it does not yet."""
        return self._store.read(CURRENT) is not None

    def now_current(self) -> None:
        """Note that the ledger has everything that the journals had. The bookkeeper calls it."""
        self._store.update(CURRENT, lambda old, now: ((now,), None), MOST_LAG)


def _forget_doubted(value: tuple[int, ...] | None, now: int) -> tuple[tuple[int, ...] | None, bool]:
    doubted = bool(value and value[0] & UNVERIFIED)
    return (None if doubted else value), doubted


def _mark() -> int:
    """A random number of 52 bits, even and not 0."""
    return secrets.randbelow((1 << _MARK_BITS - 1) - 1) + 1 << 1


#: All instances of this process, to be reset in a forked child.
_all: WeakSet[Accounts] = WeakSet()


def _forked() -> None:
    for accounts in list(_all):
        accounts._begin()


os.register_at_fork(after_in_child=_forked)
