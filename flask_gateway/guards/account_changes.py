"""Decides budgets with pure functions over an account: what a subject has used, and what its open calls hold.

The value of an account is ``mark, 4 x (start, base, own), rows x (holder, epoch, held, expires)``.

* ``mark`` is a random number, drawn when the account was opened. It tells whether a cost reached *this*
account.
* For each window (day, week, month, total): its start in epoch seconds; ``base``, what the ledger knew when
the
  account was opened; ``own``, what was settled since. Nano-dollars.
* A row is what one process holds for its open calls: a lease, as in ``leases.py``.

There are two clocks. Rows expire by the store's, ``now``. Windows begin by the wall's, so their starts are
handed in. A window rolls forward when a call brings a later start, and never back.
"""

from __future__ import annotations

from enum import IntEnum
from itertools import chain
from typing import NamedTuple

from ..state.store import SECOND, Value
from .leases import LEASE

#: Seconds that an account outlives its last change.
TTL = 3600.0
#: The most processes that hold amounts of one account.
MAX_ROWS = 71
#: No limit for a window.
NO_LIMIT = -1
#: The windows of an account: day, week, month, total.
WINDOWS = 4
#: A clock that was wrong left an account whose day begins later than this, seconds ahead of the wall clock.
_AHEAD = 86_400
#: The same with a day that began so much earlier: no account outlives its last change by more than an hour.
_BEHIND = 2 * 86_400
_ROWS_AT = 1 + 3 * WINDOWS
_LEASE = int(LEASE * SECOND)

#: The starts of the windows, or the limits of the windows, nano-dollars.
PerWindow = tuple[int, int, int, int]


class ReserveResult(IntEnum):
    """The answer to a reservation."""

    CLOSED = 0  # there is no account; open it
    RESERVED = 1
    REFUSED = 2


class Reservation(NamedTuple):
    """The answer to :class:`Reserve`.

    :param epoch: of the row that holds the amount.
    :param window: the index of the window that refuses; of the one with the least room if none does; -1 if no
        window has a limit.
    :param left: the room of that window, nano-dollars, never negative.
    :param mark: of the account that holds the amount; 0 if none does.
    """

    result: ReserveResult
    epoch: int = 0
    window: int = -1
    left: int = 0
    mark: int = 0


class RenewResult(IntEnum):
    """The answer to a renewal."""

    CLOSED = 0  # there is no account
    RENEWED = 1
    RESTORED = 2  # the account had lost the row


class Settlement(NamedTuple):
    """The answer to :class:`Settle`.

    :param mark: of the account that has the cost now; 0: there was none.
    :param windows: for each window its start, and what was used before and after.
    """

    mark: int
    windows: tuple[tuple[int, int, int], ...] = ()


class _Account:
    """An account, taken apart.

    :ivar windows: of each window its start, base and own. :ivar rows: of each row its four numbers.
    """

    __slots__ = ("mark", "rows", "windows")

    def __init__(self, mark: int, windows: list[int], rows: list[int]) -> None:
        self.mark = mark
        self.windows = windows
        self.rows = rows

    def roll(self, starts: PerWindow) -> None:
        """Begin the windows that have begun since."""
        windows, at = self.windows, 0
        for start in starts:
            if start > windows[at]:
                windows[at : at + 3] = (start, 0, 0)
            at += 3

    def row(self, holder: int, epoch: int = 0) -> int:
        """The place of a process's row; -1 if there is none. :param epoch: 0: any."""
        rows = self.rows
        for at in range(0, len(rows), 4):
            if rows[at] == holder and epoch in (0, rows[at + 1]):
                return at
        return -1

    def is_full(self) -> bool:
        return len(self.rows) >= 4 * MAX_ROWS

    def value(self) -> Value:
        return (self.mark, *self.windows, *self.rows)


def _read(value: Value | None, now: int, wall: float, ended: frozenset[int] = frozenset()) -> _Account | None:
    """Return the account, without rows that ran out or whose processes have ended.

    An account whose day is days away from the wall clock's was written while that clock was wrong. It counts
    as not there: rolled forward, it would have forgotten what was used before the clock was set back.
    """
    if not value or not -_AHEAD <= wall - value[1] <= _BEHIND:
        return None
    rows: list[int] = []
    latest = now + _LEASE
    for at in range(_ROWS_AT, len(value) - 3, 4):
        holder, epoch, held, expires = value[at : at + 4]
        if expires > now and holder not in ended:
            rows += (holder, epoch, held, min(expires, latest))
    return _Account(value[0], list(value[1:_ROWS_AT]), rows)


class Open:
    """Opens an account with what the ledger knows, unless there is one (``state.store.Change``).

    :param wall: epoch seconds.
    """

    def __init__(self, mark: int, starts: PerWindow, bases: PerWindow, wall: float) -> None:
        self.mark = mark
        self.starts = starts
        self.bases = bases
        self.wall = wall

    def __call__(self, value: Value | None, now: int) -> tuple[Value | None, bool]:
        if _read(value, now, self.wall) is not None:
            return value, False
        windows = chain.from_iterable(zip(self.starts, self.bases, (0,) * WINDOWS, strict=True))
        return (self.mark, *windows), True


class AccountView(NamedTuple):
    """The costs of each window of an account, and the amount that open calls hold, nano-dollars."""

    used: PerWindow
    held: int


class View:
    """Shows an account and changes nothing (``state.store.Change``). ``None``: there is none."""

    def __init__(self, starts: PerWindow, wall: float) -> None:
        self.starts = starts
        self.wall = wall

    def __call__(self, value: Value | None, now: int) -> tuple[Value | None, AccountView | None]:
        account = _read(value, now, self.wall)
        if account is None:
            return value, None
        account.roll(self.starts)
        used = map(sum, zip(account.windows[1::3], account.windows[2::3], strict=True))
        day, week, month, total = used
        return value, AccountView((day, week, month, total), sum(account.rows[2::4]))


class Reserve:
    """Holds an amount, if every limited window has room for it (``state.store.Change``). A refusal writes
    nothing.

    :param limits: of each window, nano-dollars; :data:`NO_LIMIT`: none.
    :param ended: holders whose rows no longer count.
    :param among: the workers that share the room, where each enforces its share alone.
    """

    def __init__(  # noqa: PLR0913  the parts of a reservation; each has another source
        self,
        holder: int,
        starts: PerWindow,
        limits: PerWindow,
        amount: int,
        wall: float,
        *,
        ended: frozenset[int] = frozenset(),
        among: int = 1,
    ) -> None:
        self.holder = holder
        self.starts = starts
        self.limits = limits
        self.amount = amount
        self.wall = wall
        self.ended = ended
        self.among = among

    def __call__(self, value: Value | None, now: int) -> tuple[Value | None, Reservation]:
        account = _read(value, now, self.wall, self.ended)
        if account is None:
            return value, Reservation(ReserveResult.CLOSED)
        account.roll(self.starts)
        window, room = self._tightest(account)
        mine = account.row(self.holder)
        if (window >= 0 and self.amount > room) or (mine < 0 and account.is_full()):
            return value, Reservation(ReserveResult.REFUSED, 0, window, max(0, room))
        rows, epoch = account.rows, now
        if mine < 0:
            rows += (self.holder, now, self.amount, now + _LEASE)
        else:
            epoch = rows[mine + 1]
            rows[mine + 2] += self.amount
            rows[mine + 3] = now + _LEASE
        left = max(0, room - self.amount)
        return account.value(), Reservation(ReserveResult.RESERVED, epoch, window, left, account.mark)

    def divided(self, among: int) -> Reserve:
        """Return the change for one of so many workers, when each enforces its share of the room alone."""
        return Reserve(self.holder, self.starts, self.limits, self.amount, self.wall, among=among)

    def _tightest(self, account: _Account) -> tuple[int, int]:
        """The window with the least room, and its room; -1 if none has a limit."""
        held, tightest, least = sum(account.rows[2::4]), -1, 0
        for at, limit in enumerate(self.limits):
            if limit != NO_LIMIT:
                _, base, own = account.windows[3 * at : 3 * at + 3]
                room = (limit - base) // self.among - own - held
                if tightest < 0 or room < least:
                    tightest, least = at, room
        return tightest, least


class Settle:
    """Ends a hold and adds the cost to every window (``state.store.Change``).

    Without a hold (``epoch`` of 0) it adds the cost alone: a cost that did not reach the account before.
    """

    def __init__(self, holder: int, epoch: int, held: int, cost: int, starts: PerWindow, wall: float) -> None:
        self.holder = holder
        self.epoch = epoch
        self.held = held
        self.cost = cost
        self.starts = starts
        self.wall = wall

    def __call__(self, value: Value | None, now: int) -> tuple[Value | None, Settlement]:
        account = _read(value, now, self.wall)
        if account is None:
            return value, Settlement(0)
        account.roll(self.starts)
        self._release(account)
        windows, told = account.windows, []
        for at in range(0, 3 * WINDOWS, 3):
            before = windows[at + 1] + windows[at + 2]
            windows[at + 2] += self.cost
            told.append((windows[at], before, before + self.cost))
        return account.value(), Settlement(account.mark, tuple(told))

    def _release(self, account: _Account) -> None:
        mine = account.row(self.holder, self.epoch) if self.epoch else -1
        if mine < 0:
            return
        if account.rows[mine + 2] > self.held:
            account.rows[mine + 2] -= self.held
        else:
            del account.rows[mine : mine + 4]


class Renew:
    """Renews a row, and puts back one that the account has lost (``state.store.Change``)."""

    def __init__(self, holder: int, epoch: int, held: int, wall: float) -> None:
        self.holder = holder
        self.epoch = epoch
        self.held = held
        self.wall = wall

    def __call__(self, value: Value | None, now: int) -> tuple[Value | None, RenewResult]:
        account = _read(value, now, self.wall)
        if account is None:
            return value, RenewResult.CLOSED
        mine = account.row(self.holder, self.epoch)
        if mine >= 0:
            account.rows[mine + 3] = now + _LEASE
            return account.value(), RenewResult.RENEWED
        if account.is_full():
            return account.value(), RenewResult.RENEWED
        account.rows += (self.holder, self.epoch, self.held, now + _LEASE)
        return account.value(), RenewResult.RESTORED
