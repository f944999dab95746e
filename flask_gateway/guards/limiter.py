"""The sliding window: never more than ``limit`` requests of one caller in any ``WINDOW`` seconds.

Rule 1: the decision is a pure function of the window's log, the time and the limit.
Rule 2: nothing here knows what is limited, or where the log is kept.

The log is a flat tuple of pairs ``stamp, count``, oldest first. Up to ``GRAINS`` requests a window it
holds each request's own time, so the limit is exact. Above that, time is cut into ``GRAINS`` grains,
and a request is stamped with the *end* of its grain. Stamped late it leaves the window late: so
never too many are admitted, at most one grain's worth (under 0.8 %) too few, and the log of any limit
fits into the same small space.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..core import Call, Caller, Outcome, Store, Value
from ..errors import RateLimited

#: Seconds.
WINDOW = 60.0
GRAINS = 128

SECOND = 1_000_000  # the store's clock ticks in microseconds


class Quota(NamedTuple):
    """What a caller has left. Times in microseconds.

    :param reset: until the window is empty again.
    :param wait: until the next request would be admitted; 0 when it would be now.
    """

    limit: int
    remaining: int
    reset: int
    wait: int


class Take:
    """One request against a limit: a change for a store (``core.Change``).

    :param window: microseconds.
    """

    __slots__ = ("grain", "limit", "window")

    def __init__(self, limit: int, window: int) -> None:
        self.limit = limit
        self.window = window
        self.grain = 1 if limit <= GRAINS else -(-window // GRAINS)

    def __call__(self, log: Value | None, now: int) -> tuple[Value | None, tuple[bool, Quota]]:
        log = self._believable(log, now)
        live = self._live(log, now)
        used = sum(live[1::2])
        if used >= self.limit:
            return log, (False, self._quota(live, used, now))
        stamp = now if self.grain == 1 else (now // self.grain + 1) * self.grain
        if live and live[-2] >= stamp:  # same grain, or another process's clock reading just before ours
            live = (*live[:-1], live[-1] + 1)
        else:
            live = (*live, stamp, 1)
        return live, (True, self._quota(live, used + 1, now))

    def peek(self, log: Value | None, now: int) -> Quota:
        """What is left, without taking any of it."""
        live = self._live(self._believable(log, now), now)
        return self._quota(live, sum(live[1::2]), now)

    def divided(self, among: int) -> Take:
        """The share of one of so many, when each has to keep to the limit alone."""
        return Take(max(1, self.limit // among), self.window)

    def _live(self, log: Value | None, now: int) -> Value:
        """The part of the log that still counts."""
        first = 0
        while log and first < len(log) and log[first] + self.window <= now:
            first += 2
        return log[first:] if log else ()

    def _believable(self, log: Value | None, now: int) -> Value | None:
        """A stamp further ahead than the clock can have put it means that the clock was set back. It
        is kept, as of now: that may hold a caller up for one window, where believing it would do so
        for as long as the clock was set back."""
        if not log or log[-2] <= now + self.grain + SECOND:
            return log
        return tuple(n for at in range(0, len(log), 2) for n in (min(log[at], now), log[at + 1]))

    def _quota(self, live: Value, used: int, now: int) -> Quota:
        return Quota(
            limit=self.limit,
            remaining=max(0, self.limit - used),
            reset=live[-2] + self.window - now if live else 0,
            wait=max(1, live[0] + self.window - now) if used >= self.limit and live else 0,
        )


def quota_headers(quota: Quota) -> dict[str, str]:
    """The headers of the OpenAI API that tell a caller where it stands."""
    return {
        "x-ratelimit-limit-requests": str(quota.limit),
        "x-ratelimit-remaining-requests": str(quota.remaining),
        "x-ratelimit-reset-requests": duration(quota.reset),
    }


def duration(micros: int) -> str:
    """A duration as the OpenAI API writes it: ``120ms``, ``8.64s``, ``6m0s``."""
    millis = -(-micros // 1000)
    if millis < 1000:
        return f"{millis}ms" if millis else "0s"
    minutes, rest = divmod(millis, 60_000)
    seconds = f"{rest / 1000:g}s"
    return f"{minutes}m{seconds}" if minutes else seconds


class Limiter:
    """Limits the requests of each caller (``core.Guard``). Shared by all threads; the store guards it."""

    def __init__(self, store: Store, window: float = WINDOW) -> None:
        self._store = store
        self._window = window

    def admit(self, call: Call) -> LimitPermit:
        """:raises RateLimited: the caller has used up its requests; nothing is counted."""
        caller = call.caller
        if not caller.rate_limit:
            return LimitPermit({})
        take = self._take(caller)
        admitted, quota = self._store.update(_key(caller), take, ttl=self._window * 2)
        headers = quota_headers(quota)
        if admitted:
            return LimitPermit(headers)
        wait = quota.wait / SECOND
        error = RateLimited(
            f"This key may make {quota.limit} requests in {self._window:g} seconds and has made them. "
            f"Try again in {duration(quota.wait)}.",
            retry_after=wait,
        )
        error.headers.update(headers)
        raise error

    def headers(self, caller: Caller) -> dict[str, str]:
        """What a caller is told of its quota when nothing was taken from it."""
        if not caller.rate_limit:
            return {}
        log = self._store.read(_key(caller))
        return quota_headers(self._take(caller).peek(log, self._store.now()))

    def _take(self, caller: Caller) -> Take:
        return Take(caller.rate_limit, int(self._window * SECOND))


def _key(caller: Caller) -> str:
    return f"limit:{caller.id}"


class LimitPermit:
    """A request that was counted. It stays counted, however it ends."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.headers = headers

    def settle(self, outcome: Outcome) -> None:
        pass
