"""Decides a limit of tokens with pure functions: at most ``limit`` tokens in any ``window``.

A call reserves an estimate before it is sent, and corrects it when its usage is known. The log is a flat
tuple of pairs ``stamp, tokens``, oldest first. Time is divided into :data:`GRAINS` grains of a window, and
tokens are stamped with the *end* of their grain: a late stamp leaves the window late. So the limiter never
admits too many, and it refuses for at most one grain too long. A log of any limit has the same small size.
"""

from __future__ import annotations

from typing import NamedTuple

from ..state.store import SECOND, Value

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

    def stamp(self, now: int) -> int:
        return (now // self.grain + 1) * self.grain

    def live(self, log: Value | None, now: int) -> Value:
        """Return the part of the log that still counts."""
        first = 0
        while log and first < len(log) and log[first] + self.window <= now:
            first += 2
        return log[first:] if log else ()

    def clamped(self, log: Value | None, now: int) -> Value | None:
        """Move stamps that lie far ahead to now: the clock was set back. Their tokens become one pair."""
        latest = self.stamp(now)
        if not log or log[-2] <= latest + SECOND:
            return log
        early = [n for at in range(0, len(log), 2) if log[at] < latest for n in log[at : at + 2]]
        late = sum(log[at + 1] for at in range(0, len(log), 2) if log[at] >= latest)
        return (*early, latest, late)

    def added(self, live: Value, now: int, tokens: int) -> Value:
        """Return the log with tokens in the grain of now."""
        stamp = self.stamp(now)
        if live and live[-2] >= stamp:  # the same grain, or another process read the clock just before
            return (*live[:-1], live[-1] + tokens)
        return (*live, stamp, tokens)


class ReserveTokens(_Window):
    """Reserves tokens of a limit: a change for a store (``state.store.Change``). A refusal writes nothing."""

    __slots__ = ("amount", "limit")

    def __init__(self, limit: int, window: int, amount: int) -> None:
        super().__init__(window)
        self.limit = limit
        self.amount = amount

    def __call__(self, log: Value | None, now: int) -> tuple[Value | None, TokenQuota]:
        log = self.clamped(log, now)
        live = self.live(log, now)
        used = sum(live[1::2])
        if used + self.amount > self.limit:
            return log, TokenQuota(
                0, max(0, self.limit - used), self._reset(live, now), self._wait(live, used, now)
            )
        live = self.added(live, now, self.amount)
        return live, TokenQuota(live[-2], self.limit - used - self.amount, self._reset(live, now), 0)

    def peek(self, log: Value | None, now: int) -> tuple[Value | None, TokenQuota]:
        """Return what is left, and reserve nothing (``state.store.Change``)."""
        live = self.live(self.clamped(log, now), now)
        return log, TokenQuota(0, max(0, self.limit - sum(live[1::2])), self._reset(live, now), 0)

    def divided(self, among: int) -> ReserveTokens:
        """Return the change for one of so many workers, when each enforces its share of the limit alone."""
        return ReserveTokens(max(1, self.limit // among), self.window, self.amount)

    def _reset(self, live: Value, now: int) -> int:
        return live[-2] + self.window - now if live else 0

    def _wait(self, live: Value, used: int, now: int) -> int:
        for at in range(0, len(live), 2):
            used -= live[at + 1]
            if used + self.amount <= self.limit:
                return max(1, live[at] + self.window - now)
        return 0


class CorrectTokens(_Window):
    """Corrects a reservation to the tokens that were used (``state.store.Change``).

    Tokens that were reserved and not used go back to the grain from which they were taken, if it still
    counts. Tokens that were used and not reserved count from now. ``actual`` of 0 cancels the reservation.

    :param stamp: the grain of the reservation, as :class:`TokenQuota` names it.
    """

    __slots__ = ("actual", "reserved", "stamp_of")

    def __init__(self, window: int, stamp: int, reserved: int, actual: int) -> None:
        super().__init__(window)
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
        return self._given_back(live, -more) or None, None

    def _given_back(self, live: Value, tokens: int) -> Value:
        for at in range(0, len(live), 2):
            if live[at] == self.stamp_of:
                left = live[at + 1] - tokens
                kept = (live[at], left) if left > 0 else ()
                return (*live[:at], *kept, *live[at + 2 :])
        return live
