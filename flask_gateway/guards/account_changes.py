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

import secrets
from enum import IntEnum
from itertools import chain
from typing import ClassVar, NamedTuple, TypeGuard

from ..state.store import SECOND, Value
from . import account_scripts
from .leases import LEASE

#: Seconds that an account outlives its last change.
TTL = 3600.0
#: The most processes that hold amounts of one account.
MAX_ROWS = 71
#: No limit for a window.
NO_LIMIT = -1
#: Bits of an account's mark. The lowest is set where the ledger could not be read.
MARK_BITS = 52
UNVERIFIED = 1
#: The windows of an account: day, week, month, total.
WINDOWS = 4
#: A clock that was wrong left an account whose day begins later than this, seconds ahead of the wall clock.
_AHEAD = 86_400
#: The same with a day that began so much earlier: no account outlives its last change by more than an hour.
_BEHIND = 2 * 86_400
_ROWS_AT = 1 + 3 * WINDOWS
#: The longest account with room for another row.
_MOST = _ROWS_AT + 4 * (MAX_ROWS - 1)
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


_RESERVED, _REFUSED = ReserveResult.RESERVED, ReserveResult.REFUSED
_CLOSED = Reservation(ReserveResult.CLOSED)


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


def new_mark() -> int:
    """Return a random mark of 52 bits, even and not 0."""
    return secrets.randbelow((1 << MARK_BITS - 1) - 1) + 1 << 1


def _is_there(value: Value | None, wall: float) -> TypeGuard[Value]:
    """Whether there is an account.

    An account whose day is days away from the wall clock's was written while that clock was wrong. It counts
    as not there: rolled forward, it would have forgotten what was used before the clock was set back.
    """
    return bool(value) and -_AHEAD <= wall - value[1] <= _BEHIND  # type: ignore[index]  # it is not empty


def _current(value: Value, starts: PerWindow, now: int, ended: frozenset[int] = frozenset()) -> list[int]:
    """Return the numbers of an account, with the windows that have begun since.

    Rows that ran out or whose processes have ended are dropped. No row lasts longer than a lease.
    """
    numbers, latest = list(value), now + _LEASE
    if (value[1], value[4], value[7], value[10]) != starts:
        for at, start in zip(range(1, _ROWS_AT, 3), starts, strict=True):
            if start > numbers[at]:
                numbers[at : at + 3] = (start, 0, 0)
    at = _ROWS_AT
    while at < len(numbers):
        expires = numbers[at + 3]
        if expires <= now or numbers[at] in ended:
            del numbers[at : at + 4]
            continue
        if expires > latest:
            numbers[at + 3] = latest
        at += 4
    return numbers


def _row(numbers: list[int], holder: int, epoch: int = 0) -> int:
    """The place of a process's row; -1 if there is none. :param epoch: 0: any."""
    for at in range(_ROWS_AT, len(numbers), 4):
        if numbers[at] == holder and (numbers[at + 1] == epoch or not epoch):
            return at
    return -1


class Open:
    """Opens an account with what the ledger knows, unless there is one (``state.store.Change``).

    :param wall: epoch seconds.
    """

    script: ClassVar[str] = account_scripts.OPEN
    #: An account in a fallback store does not get later costs (``state.fallback``).
    stale: ClassVar[bool] = True

    def __init__(self, mark: int, starts: PerWindow, bases: PerWindow, wall: float) -> None:
        self.mark = mark
        self.starts = starts
        self.bases = bases
        self.wall = wall

    @property
    def arguments(self) -> tuple[float, ...]:
        """The arguments of the Lua script."""
        return (self.wall, *self.starts, _LEASE, self.mark, *self.bases)

    def answer(self, ints: tuple[int, ...]) -> bool:
        """Convert the Lua script's result."""
        return bool(ints[0])

    def __call__(self, value: Value | None, now: int) -> tuple[Value | None, bool]:
        if _is_there(value, self.wall):
            return value, False
        windows = chain.from_iterable(zip(self.starts, self.bases, (0,) * WINDOWS, strict=True))
        return (self.mark, *windows), True


def forget_doubted(value: Value | None, now: int) -> tuple[Value | None, bool]:
    """Forget an account that was opened without the ledger (``state.store.Change``)."""
    doubted = bool(value and value[0] & UNVERIFIED)
    return (None if doubted else value), doubted


def total_used(value: Value | None, now: int) -> tuple[Value | None, tuple[int, int]]:
    """Return the mark of an account and what was used in total (``state.store.Change``). Change nothing."""
    return value, (value[0], value[11] + value[12]) if value else (0, 0)


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
        if not _is_there(value, self.wall):
            return value, None
        numbers = _current(value, self.starts, now)
        day, week, month, total = map(sum, zip(numbers[2:_ROWS_AT:3], numbers[3:_ROWS_AT:3], strict=True))
        return value, AccountView((day, week, month, total), sum(numbers[_ROWS_AT + 2 :: 4]))


class Reserve:
    """Holds an amount, if every limited window has room for it (``state.store.Change``). A refusal writes
    nothing.

    :param limits: of each window, nano-dollars; :data:`NO_LIMIT`: none.
    :param ended: holders whose rows no longer count.
    :param among: the workers that share the room, where each enforces its share alone.
    """

    script: ClassVar[str] = account_scripts.RESERVE

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
        if not _is_there(value, self.wall):
            return value, _CLOSED
        numbers = _current(value, self.starts, now, self.ended)
        window, room = self._tightest(numbers)
        mine = _row(numbers, self.holder)
        if (window >= 0 and self.amount > room) or (mine < 0 and len(numbers) > _MOST):
            return value, Reservation(_REFUSED, 0, window, max(0, room))
        epoch = now
        if mine < 0:
            numbers += (self.holder, now, self.amount, now + _LEASE)
        else:
            epoch = numbers[mine + 1]
            numbers[mine + 2] += self.amount
            numbers[mine + 3] = now + _LEASE
        left = room - self.amount if room > self.amount else 0
        return tuple(numbers), Reservation(_RESERVED, epoch, window, left, numbers[0])

    @property
    def arguments(self) -> tuple[float, ...]:
        """The arguments of the Lua script. Redis sees no processes and no shares."""
        return (self.wall, *self.starts, _LEASE, self.holder, self.amount, _MOST, *self.limits)

    def answer(self, ints: tuple[int, ...]) -> Reservation:
        """Convert the Lua script's result, whose first number says whether the amount is held."""
        _, result, epoch, window, left, mark = ints
        return Reservation(ReserveResult(result), epoch, window, left, mark)

    def undone(self, answer: Reservation) -> Settle:
        """Return the change that ends the hold."""
        return Settle(self.holder, answer.epoch, self.amount, 0, self.starts, self.wall)

    def divided(self, among: int) -> Reserve:
        """Return the change for one of so many workers, when each enforces its share of the room alone."""
        return Reserve(self.holder, self.starts, self.limits, self.amount, self.wall, among=among)

    def _tightest(self, numbers: list[int]) -> tuple[int, int]:
        """The window with the least room, and its room; -1 if none has a limit."""
        held, tightest, least, at = sum(numbers[_ROWS_AT + 2 :: 4]), -1, 0, 2
        for limit in self.limits:
            if limit >= 0:
                room = (limit - numbers[at]) // self.among - numbers[at + 1] - held
                if tightest < 0 or room < least:
                    tightest, least = at // 3, room
            at += 3
        return tightest, least


class Settle:
    """Ends a hold and adds the cost to every window (``state.store.Change``).

    Without a hold (``epoch`` of 0) it adds the cost alone: a cost that did not reach the account before.
    """

    script: ClassVar[str] = account_scripts.SETTLE

    def __init__(self, holder: int, epoch: int, held: int, cost: int, starts: PerWindow, wall: float) -> None:
        self.holder = holder
        self.epoch = epoch
        self.held = held
        self.cost = cost
        self.starts = starts
        self.wall = wall

    def __call__(self, value: Value | None, now: int) -> tuple[Value | None, Settlement]:
        if not _is_there(value, self.wall):
            return value, Settlement(0)
        numbers, cost = _current(value, self.starts, now), self.cost
        if self.epoch:
            self._release(numbers)
        day, week = numbers[2] + numbers[3], numbers[5] + numbers[6]
        month, total = numbers[8] + numbers[9], numbers[11] + numbers[12]
        numbers[3], numbers[6] = numbers[3] + cost, numbers[6] + cost
        numbers[9], numbers[12] = numbers[9] + cost, numbers[12] + cost
        windows = (
            (numbers[1], day, day + cost),
            (numbers[4], week, week + cost),
            (numbers[7], month, month + cost),
            (numbers[10], total, total + cost),
        )
        return tuple(numbers), Settlement(numbers[0], windows)

    @property
    def arguments(self) -> tuple[float, ...]:
        """The arguments of the Lua script."""
        return (self.wall, *self.starts, _LEASE, self.holder, self.epoch, self.held, self.cost)

    def answer(self, ints: tuple[int, ...]) -> Settlement:
        """Convert the Lua script's result."""
        mark, *numbers = ints
        return Settlement(mark, tuple(zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True)))

    def _release(self, numbers: list[int]) -> None:
        mine = _row(numbers, self.holder, self.epoch)
        if mine < 0:
            return
        if numbers[mine + 2] > self.held:
            numbers[mine + 2] -= self.held
        else:
            del numbers[mine : mine + 4]


class Renew:
    """Renews a row, and puts back one that the account has lost (``state.store.Change``).

    :param starts: an account that is renewed has the windows of now, however long its calls take.
    """

    script: ClassVar[str] = account_scripts.RENEW

    def __init__(
        self, holder: int, epoch: int, held: int, wall: float, starts: PerWindow = (0, 0, 0, 0)
    ) -> None:
        self.holder = holder
        self.epoch = epoch
        self.held = held
        self.wall = wall
        self.starts = starts

    def __call__(self, value: Value | None, now: int) -> tuple[Value | None, RenewResult]:
        if not _is_there(value, self.wall):
            return value, RenewResult.CLOSED
        numbers = _current(value, self.starts, now)
        mine = _row(numbers, self.holder, self.epoch)
        if mine >= 0:
            numbers[mine + 3] = now + _LEASE
            return tuple(numbers), RenewResult.RENEWED
        if len(numbers) > _MOST:
            return tuple(numbers), RenewResult.RENEWED
        numbers += (self.holder, self.epoch, self.held, now + _LEASE)
        return tuple(numbers), RenewResult.RESTORED

    @property
    def arguments(self) -> tuple[float, ...]:
        """The arguments of the Lua script."""
        return (self.wall, *self.starts, _LEASE, self.holder, self.epoch, self.held, _MOST)

    def answer(self, ints: tuple[int, ...]) -> RenewResult:
        """Convert the Lua script's result."""
        return RenewResult(ints[0])
