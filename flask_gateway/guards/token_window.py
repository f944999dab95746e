"""Decides a limit of tokens with pure functions: at most ``limit`` tokens in any ``window``.

A call reserves an estimate before it is sent, and corrects it when its usage is known. Time is divided into
:data:`GRAINS` grains of a window, and tokens are stamped with the *end* of their grain: a late stamp leaves
the window late. So the limiter never admits too many, and it refuses for at most one grain too long.

The log is ``stamp, tokens, tokens, …``: the stamp of the newest grain, its tokens, and those of the grains
before it, newest first. A log of any limit has the same small size.
"""

from __future__ import annotations

from itertools import chain
from typing import ClassVar, NamedTuple

from ..state.store import SECOND, Value
from . import token_scripts
from .token_returns import Returns

GRAINS = 128


class TokenQuota(NamedTuple):
    """The answer to a reservation. Times in microseconds.

    :param stamp: the grain that holds the tokens, for the correction; 0: refused.
    :param remaining: tokens left.
    :param reset: time until the window is empty.
    :param wait: time until so many tokens would be admitted; 0 where they are, or never would be.
    """

    stamp: int
    remaining: int
    reset: int
    wait: int


class _Window:
    """The grains of a limit, for reservations and corrections.

    :param window: microseconds.
    """

    __slots__ = ("grain", "window")

    def __init__(self, window: int) -> None:
        self.window = window
        self.grain = -(-window // GRAINS)

    def live(self, log: Value | None, now: int) -> Value:
        """Return the part of the log that still counts; empty if none does."""
        if not log:
            return ()
        count = -((now - log[0] - self.window) // self.grain)
        if count <= 0:
            return ()
        return log if count >= len(log) - 1 else log[: count + 1]

    def clamped(self, log: Value | None, now: int) -> Value | None:
        """Move the tokens of grains that lie far ahead to the grain of now: the clock was set back."""
        if not log or log[0] <= now + self.grain + SECOND:
            return log
        latest = (now // self.grain + 1) * self.grain
        ahead = (log[0] - latest) // self.grain + 2
        return (latest, sum(log[1:ahead]), *log[ahead:])

    def added(self, live: Value, now: int, tokens: int) -> Value:
        """Return the log with tokens in the grain of now."""
        stamp = (now // self.grain + 1) * self.grain
        if not live:
            return (stamp, tokens)
        if live[0] >= stamp:  # the same grain, or another process read the clock just before
            return (live[0], live[1] + tokens, *live[2:])
        between = (stamp - live[0]) // self.grain - 1
        return (stamp, tokens, *(0,) * between, *live[1:])

    def given_back(self, live: Value, returns: Returns) -> Value:
        """Return the log with tokens taken out of the grains of their reservations that still count."""
        numbers = list(live)
        for stamp, tokens in returns:
            at = (live[0] - stamp) // self.grain + 1
            if 1 <= at < len(numbers):
                left = numbers[at] - tokens
                numbers[at] = left if left > 0 else 0
        if numbers[1]:
            return tuple(numbers)
        newest = next((age for age in range(1, len(live) - 1) if numbers[age + 1]), None)
        return () if newest is None else (live[0] - newest * self.grain, *numbers[newest + 1 :])

    def reset(self, live: Value, now: int) -> int:
        """Return the time until the window is empty."""
        return live[0] + self.window - now if live else 0


class ReserveTokens(_Window):
    """Reserves tokens of a limit: a change for a store (``state.store.Change``). A refusal writes nothing.

    :param returns: what earlier calls reserved and did not use. It is given back in any case.
    """

    __slots__ = ("amount", "limit", "returns")

    script: ClassVar[str] = token_scripts.RESERVE_TOKENS

    def __init__(self, limit: int, window: int, amount: int, returns: Returns = ()) -> None:
        self.window = window
        self.grain = -(-window // GRAINS)
        self.limit = limit
        self.amount = amount
        self.returns = returns

    def __call__(self, log: Value | None, now: int) -> tuple[Value | None, TokenQuota]:
        log = self.clamped(log, now)
        live = self.live(log, now)
        if self.returns and live:
            log = live = self.given_back(live, self.returns)
        left = self.limit - (sum(live) - live[0] if live else 0)
        if self.amount > left:
            return log or None, TokenQuota(
                0, max(0, left), self.reset(live, now), self._wait(live, left, now)
            )
        live = self.added(live, now, self.amount)
        stamp = live[0]
        return live, TokenQuota(stamp, left - self.amount, stamp + self.window - now, 0)

    @property
    def arguments(self) -> tuple[int, ...]:
        """The arguments of the Lua script."""
        return (self.window, self.grain, self.limit, self.amount, *chain.from_iterable(self.returns))

    def answer(self, ints: tuple[int, ...]) -> TokenQuota:
        """Convert the Lua script's result."""
        return TokenQuota(*ints)

    def peek(self, log: Value | None, now: int) -> tuple[Value | None, TokenQuota]:
        """Return what is left, and reserve nothing (``state.store.Change``)."""
        live = self.live(self.clamped(log, now), now)
        return log, TokenQuota(0, max(0, self.limit - sum(live[1:])), self.reset(live, now), 0)

    def undone(self, answer: TokenQuota) -> GiveBackTokens:
        """Return the change that gives the tokens back."""
        return GiveBackTokens(self.window, ((answer.stamp, self.amount),))

    def divided(self, among: int) -> ReserveTokens:
        """Return the change for one of so many workers, when each enforces its share of the limit alone."""
        return ReserveTokens(max(1, self.limit // among), self.window, self.amount, self.returns)

    def _wait(self, live: Value, left: int, now: int) -> int:
        """Return the time until the oldest grains that stand in the way have left the window."""
        for age in range(len(live) - 2, -1, -1):
            left += live[age + 1]
            if self.amount <= left:
                return max(1, live[0] - age * self.grain + self.window - now)
        return 0


class CorrectTokens(_Window):
    """Corrects a reservation to the tokens that were used (``state.store.Change``).

    Tokens that were reserved and not used go back to the grain from which they were taken, if it still
    counts. Tokens that were used and not reserved count from now. ``actual`` of 0 cancels the reservation.

    :param stamp: the grain of the reservation, as :class:`TokenQuota` names it.
    """

    __slots__ = ("actual", "reserved", "stamp_of")

    script: ClassVar[str] = token_scripts.CORRECT_TOKENS

    def __init__(self, window: int, stamp: int, reserved: int, actual: int) -> None:
        self.window = window
        self.grain = -(-window // GRAINS)
        self.stamp_of = stamp
        self.reserved = reserved
        self.actual = actual

    def __call__(self, log: Value | None, now: int) -> tuple[Value | None, None]:
        more = self.actual - self.reserved
        if more == 0:
            return log, None
        live = self.live(self.clamped(log, now), now)
        if more > 0:
            return self.added(live, now, more), None
        return (self.given_back(live, ((self.stamp_of, -more),)) or None if live else None), None

    @property
    def arguments(self) -> tuple[int, ...]:
        """The arguments of the Lua script."""
        more = self.actual - self.reserved
        returned = (self.stamp_of, -more) if more < 0 else ()
        return (self.window, self.grain, more, *returned)

    def answer(self, ints: tuple[int, ...]) -> None:
        """Answer nothing, as the Python does."""


class GiveBackTokens(_Window):
    """Gives back what calls reserved and did not use (``state.store.Change``)."""

    __slots__ = ("returns",)

    script: ClassVar[str] = token_scripts.CORRECT_TOKENS

    def __init__(self, window: int, returns: Returns) -> None:
        super().__init__(window)
        self.returns = returns

    def __call__(self, log: Value | None, now: int) -> tuple[Value | None, None]:
        live = self.live(self.clamped(log, now), now)
        return (self.given_back(live, self.returns) or None if live else None), None

    @property
    def arguments(self) -> tuple[int, ...]:
        """The arguments of the Lua script: it corrects by nothing, and gives back."""
        return (self.window, self.grain, 0, *chain.from_iterable(self.returns))

    def answer(self, ints: tuple[int, ...]) -> None:
        """Answer nothing, as the Python does."""
