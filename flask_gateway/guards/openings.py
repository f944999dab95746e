"""Opens the accounts of budgets from the ledger: what a subject has used before.

With Redis an account is opened together with the reservation of a call, in one round trip, where this process
does not know that it is open. So the ledger is read before.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

from ..model.calendar_windows import Calendar
from ..model.spend import AccountClosed, BooksUnknown
from ..state.store import Store, state_key
from ..state.together import StoreUpdate, TogetherStore
from .account_changes import TTL, UNVERIFIED, Open, PerWindow, Settle, Settlement, new_mark, total_used

log = logging.getLogger(__name__)

#: How long an opening waits for the books of a gateway that has just started, seconds.
PATIENCE = 1.0
#: The store's keys: the ledger is up to date; some account was opened without it.
CURRENT, DOUBTED = "books:current", "books:doubted"
#: Without a turn of the bookkeeper for so long, what the ledger says is not known to be true, seconds.
MOST_LAG = 1800.0
_NOTHING: PerWindow = (0, 0, 0, 0)
#: How often an account that was opened is compared with the ledger.
_LOOKS = 3
#: The accounts that a process knows to be open. It knows so for less than they live, seconds.
_MOST_KNOWN, _KNOWN = 16_384, TTL - 60.0


class Balances(Protocol):
    """Reads the ledger."""

    def used(self, subject: str, starts: PerWindow) -> PerWindow:
        """Return what a subject has used in each window, nano-dollars.

        :raises BooksUnknown: the ledger cannot be read.
        """
        ...


#: Returns the store's key of a subject's account.
account_key = partial(state_key, "money")


class Openings:
    """Opens accounts. Threads share it.

    :param clock: epoch seconds. :param unverified: called when an account opens without the ledger.
    :param patience: how long to wait for the books, seconds.
    """

    def __init__(
        self,
        store: Store,
        balances: Balances,
        calendar: Calendar,
        clock: Callable[[], float],
        unverified: Callable[[], None],
        patience: float,
    ) -> None:
        self._store = store
        self.balances = balances
        self._calendar = calendar
        self._clock = clock
        self._unverified = unverified
        self._patience = patience
        #: By key: until when an account is known to be open, epoch seconds; 0: it is known to be closed.
        self._known: dict[str, float] = {}
        #: The rest of the work of openings, for the thread that calls :meth:`finish`.
        self._later: deque[Callable[[], object]] = deque()

    def know(self, key: str, *, closed: bool = False) -> None:
        """Note that an account is open, or closed."""
        if len(self._known) >= _MOST_KNOWN:
            self._known = {}
        self._known[key] = 0.0 if closed else self._clock() + _KNOWN

    def step(self, subject: str, key: str, *, strict: bool) -> list[StoreUpdate]:
        """The change that opens an account with what the ledger says; none if it is known to be open.

        Nor is there one while the ledger is in doubt: the account may be open. If it is known to be closed,
        it is opened in any case, unless it is strict.
        """
        known = self._known.get(key, -1.0)
        closed = known == 0.0
        if known > self._clock() or not (closed or self.are_current):
            return []
        wall, mark = self._clock(), new_mark()
        starts = self._calendar.starts(wall)
        bases, doubt = self._bases(subject, starts)
        if doubt and (strict or not closed):
            return []
        change = Open(mark | UNVERIFIED if doubt else mark, starts, bases, wall)
        return [StoreUpdate(key, change, TTL, refuses=False)]

    def take(self, store: TogetherStore, subject: str, key: str) -> bool:
        """Look once more at an account that this call has opened. Return whether :meth:`finish` has work.

        The ledger is read now: soon it has costs that the account has, too.
        """
        found = store.take(key, Open)
        if found is None or not found[1]:
            return False
        change = found[0].change
        if change.mark & UNVERIFIED:
            doubt = "the ledger cannot be read, or is not up to date"
            self._later.append(partial(self._note_doubt, subject, doubt))
            return True
        work = self._catching_up(subject, change)
        if work is not None:
            self._later.append(work)
        return work is not None

    def refuse(self, subject: str, key: str) -> None:
        """:raises AccountClosed: always. The next :meth:`step` opens it."""
        self.know(key, closed=True)
        raise AccountClosed(subject)

    def finish(self) -> None:
        """Do the rest of the work of openings. Some of it may add work for the next time."""
        for _ in range(len(self._later)):
            self._later.popleft()()

    def _bases(self, subject: str, starts: PerWindow) -> tuple[PerWindow, str]:
        """Return what the ledger knows of a subject, and why that may be too little; empty: it is not."""
        current = self._wait_until_current()
        try:
            bases = self.balances.used(subject, starts)
        except BooksUnknown as error:
            return _NOTHING, str(error)
        return bases, "" if current else "the journals have more than the ledger"

    def open(self, subject: str, *, strict: bool) -> None:
        """:raises BooksUnknown: it is strict, and the ledger cannot be read."""
        wall, mark = self._clock(), new_mark()
        starts = self._calendar.starts(wall)
        bases, doubt = self._bases(subject, starts)
        if doubt:
            if strict:
                raise BooksUnknown(doubt)
            mark |= UNVERIFIED
            self._note_doubt(subject, doubt)
        change = Open(mark, starts, bases, wall)
        opened = self._store.update(account_key(subject), change, TTL)
        if opened and not mark & UNVERIFIED and (work := self._catching_up(subject, change)):
            work()

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

    def _catching_up(self, subject: str, opened: Open) -> Callable[[], object] | None:
        """Return the work that is left where the bookkeeper may have written costs after the balance was read
        and before the account was there: it did not see the account."""
        try:
            ledger = self.balances.used(subject, opened.starts)[-1]
        except BooksUnknown:
            return None
        most = ledger - opened.bases[-1]
        return partial(self._catch_up, subject, opened, most, ledger) if most > 0 else None

    def _catch_up(self, subject: str, opened: Open, most: int, ledger: int, looks: int = _LOOKS) -> None:
        """Post the costs that the ledger has and the account has not.

        Other calls may have settled in the account meanwhile. Their costs are in the ledger only if the
        account has them, too, so what the ledger has more is missing for sure. There may be more of it as
        long as costs wait in journals: so it looks again later.

        :param most: the highest amount that may be missing. :param ledger: the total, read before that of
            the account.
        """
        mark, used = self._store.update(account_key(subject), total_used, TTL)
        if mark != opened.mark:
            return
        missing = min(most, max(0, ledger - used))
        if missing:
            self.post(subject, missing)
        if most > missing and looks > 1:
            self._later.append(partial(self._look_later, subject, opened, most - missing, looks - 1))

    def _look_later(self, subject: str, opened: Open, most: int, looks: int) -> None:
        try:
            ledger = self.balances.used(subject, opened.starts)[-1]
        except BooksUnknown:
            return
        self._catch_up(subject, opened, most, ledger, looks)

    def post(self, subject: str, cost: int) -> Settlement:
        """Add a cost that nothing was held for."""
        wall = self._clock()
        change = Settle(0, 0, 0, cost, self._calendar.starts(wall), wall)
        return self._store.update(account_key(subject), change, TTL)

    @property
    def are_current(self) -> bool:
        """Whether the ledger has everything that the journals had lately. At a start it does not yet."""
        return self._store.read(CURRENT) is not None
