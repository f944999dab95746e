"""Decides a sliding-window limit with a pure function: at most ``limit`` requests in any ``window``.

The log is a flat tuple of pairs ``stamp, count``, oldest first. Up to ``BUCKETS`` requests per window, the
log holds each request's own time, so the limit is exact. For higher limits, time is divided into ``BUCKETS``
buckets, and a request is stamped with the *end* of its bucket. A late stamp leaves the window late. So the
limiter never admits too many requests, and at most one bucket's worth (under 0.8 %) too few. The log of any
limit has the same small size. If the limit is raised above ``BUCKETS``, a log of single times is converted
to buckets when it grows too long.

This module does not know what is limited, or where the log is stored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, NamedTuple

from ..state.store import SECOND, Value

#: The window of the limits per minute, seconds.
MINUTE = 60.0
BUCKETS = 128
#: The most numbers of a log, unless it began as a log of single times.
_LONGEST = 2 * (BUCKETS + 2)


class Quota(NamedTuple):
    """A caller's remaining quota. Times in microseconds.

    :param reset: time until the window is empty.
    :param wait: time until the next request would be admitted; 0: it would be admitted now.
    :param stamps: the stamp of the request that was just counted, by the clock of each store that counted it.
    """

    limit: int
    remaining: int
    reset: int
    wait: int
    stamps: tuple[int, ...] = ()


#: ``Acquire.__call__`` as a Lua script that Redis runs (``state.redis.Scripted``). A test compares the two.
_LUA = """
local limit, window, grain, longest = arguments[1], arguments[2], arguments[3], arguments[4]
local log = load() or {}
local first, used, live, set_back = 1, 0, {}, false
if #log > 0 and log[#log - 1] > now + grain + 1000000 then
  for i = 1, #log, 2 do log[i] = math.min(log[i], now) end
  set_back = true
end
while first < #log and log[first] + window <= now do first = first + 2 end
for i = first, #log, 2 do
  live[#live + 1], live[#live + 2] = log[i], log[i + 1]
  used = used + log[i + 1]
end
local admitted = used < limit
if admitted then
  local stamp = now
  if grain > 1 then stamp = now - math.fmod(now, grain) + grain end
  if #live > 0 and live[#live - 1] >= stamp then
    live[#live] = live[#live] + 1
  else
    live[#live + 1], live[#live + 2] = stamp, 1
  end
  if grain > 1 and #live > longest then
    local coarse = {}
    for i = 1, #live, 2 do
      local last = live[i] + math.fmod(grain - math.fmod(live[i], grain), grain)
      if #coarse > 0 and coarse[#coarse - 1] >= last then
        coarse[#coarse] = coarse[#coarse] + live[i + 1]
      else
        coarse[#coarse + 1], coarse[#coarse + 2] = last, live[i + 1]
      end
    end
    live = coarse
  end
  used = used + 1
  save(live)
elseif set_back then
  save(log)
end
local reset, wait = 0, 0
if #live > 0 then
  reset = live[#live - 1] + window - now
  if used >= limit then wait = math.max(1, live[1] + window - now) end
end
return {admitted and 1 or 0, math.max(0, limit - used), reset, wait, admitted and live[#live - 1] or 0}
"""

#: ``GiveBack.__call__``. The further arguments are the request's stamps.
_GIVE_BACK = """
local limit, window, grain = arguments[1], arguments[2], arguments[3]
local log = load() or {}
local function entry()
  for i = 4, #arguments do
    local stamp = arguments[i]
    for _, own in ipairs({stamp, stamp + math.fmod(grain - math.fmod(stamp, grain), grain)}) do
      for at = 1, #log, 2 do
        if log[at] == own then return at end
      end
    end
  end
end
local at = entry()
if at then
  log[at + 1] = log[at + 1] - 1
  if log[at + 1] == 0 then
    table.remove(log, at)
    table.remove(log, at)
  end
  if #log > 0 then save(log) else forget() end
end
local set_back = #log > 0 and log[#log - 1] > now + grain + 1000000
local used, oldest, newest = 0, nil, nil
for i = 1, #log, 2 do
  local stamp = set_back and math.min(log[i], now) or log[i]
  if oldest or stamp + window > now then
    oldest, newest, used = oldest or stamp, stamp, used + log[i + 1]
  end
end
local reset = newest and newest + window - now or 0
local wait = used >= limit and oldest and math.max(1, oldest + window - now) or 0
return {math.max(0, limit - used), reset, wait}
"""


class Acquire:
    """Counts one request against a limit: a change for a store (``state.store.Change``).

    :param window: microseconds.
    """

    __slots__ = ("grain", "limit", "window")

    script: ClassVar[str] = _LUA

    def __init__(self, limit: int, window: int) -> None:
        self.limit = limit
        self.window = window
        self.grain = 1 if limit <= BUCKETS else -(-window // BUCKETS)

    def __call__(self, log: Value | None, now: int) -> tuple[Value | None, tuple[bool, Quota]]:
        log = self._clamp_to_clock(log, now)
        live = self._live(log, now)
        used = sum(live[1::2])
        if used >= self.limit:
            return log, (False, self._quota(live, used, now))
        stamp = now if self.grain == 1 else (now // self.grain + 1) * self.grain
        if live and live[-2] >= stamp:  # same bucket, or another process read the clock just before us
            live = (*live[:-1], live[-1] + 1)
        else:
            live = (*live, stamp, 1)
        if self.grain > 1 and len(live) > _LONGEST:
            live = self._coarse(live)
        return live, (True, self._quota(live, used + 1, now, (live[-2],)))

    @property
    def arguments(self) -> tuple[int, ...]:
        """The arguments of the Lua script."""
        return self.limit, self.window, self.grain, _LONGEST

    def answer(self, ints: tuple[int, ...]) -> tuple[bool, Quota]:
        """Convert the Lua script's result."""
        admitted, remaining, reset, wait, stamp = ints
        return bool(admitted), Quota(self.limit, remaining, reset, wait, (stamp,) if admitted else ())

    def peek(self, log: Value | None, now: int) -> tuple[Value | None, Quota]:
        """Return the quota without using any of it (``state.store.Change``)."""
        live = self._live(self._clamp_to_clock(log, now), now)
        return log, self._quota(live, sum(live[1::2]), now)

    def refusal(self, log: Value | None, now: int) -> tuple[bool, Quota] | None:
        """Return the refusal if this log is full; else ``None`` (``state.fallback.Confirmed``)."""
        live = self._live(self._clamp_to_clock(log, now), now) if log else ()
        used = sum(live[1::2])
        return (False, self._quota(live, used, now)) if used >= self.limit else None

    def confirmed(
        self, answer: tuple[bool, Quota], write: Callable[[], tuple[bool, Quota]]
    ) -> tuple[bool, Quota]:
        """Return the stricter answer of two logs, with the stamps of both."""
        if not answer[0]:
            return answer
        own = write()
        if not own[0]:
            return own
        stricter = min(answer[1], own[1], key=lambda quota: quota.remaining)
        return True, stricter._replace(stamps=answer[1].stamps + own[1].stamps)

    def undone(self, answer: tuple[bool, Quota]) -> GiveBack:
        """Return the change that gives the request back."""
        return GiveBack(self, answer[1].stamps)

    def divided(self, among: int) -> Acquire:
        """Return the change for one of so many workers, when each enforces its share of the limit alone."""
        return Acquire(max(1, self.limit // among), self.window)

    def _live(self, log: Value | None, now: int) -> Value:
        """Return the part of the log that still counts."""
        first = 0
        while log and first < len(log) and log[first] + self.window <= now:
            first += 2
        return log[first:] if log else ()

    def _coarse(self, live: Value) -> Value:
        """Return the log in buckets, with each request at the end of its bucket."""
        coarse: list[int] = []
        for at in range(0, len(live), 2):
            end = -(-live[at] // self.grain) * self.grain
            if coarse and coarse[-2] >= end:
                coarse[-1] += live[at + 1]
            else:
                coarse += (end, live[at + 1])
        return tuple(coarse)

    def _clamp_to_clock(self, log: Value | None, now: int) -> Value | None:
        """Move stamps that lie too far ahead to now: the clock was set back.

        This may delay a caller for one window. Keeping the stamps would delay it for as long as the clock was
        set back."""
        if not log or log[-2] <= now + self.grain + SECOND:
            return log
        return tuple(n for at in range(0, len(log), 2) for n in (min(log[at], now), log[at + 1]))

    def _quota(self, live: Value, used: int, now: int, stamps: tuple[int, ...] = ()) -> Quota:
        return Quota(
            limit=self.limit,
            remaining=max(0, self.limit - used),
            reset=live[-2] + self.window - now if live else 0,
            wait=max(1, live[0] + self.window - now) if used >= self.limit and live else 0,
            stamps=stamps,
        )


class GiveBack:
    """Removes one request from the log again: a change for a store (``state.store.Change``).

    It removes the request's own entry and no other. Without that entry it changes nothing: the request has
    left the window, or the log was lost. So giving back never admits more than the limit.

    :param acquire: counted the request. :param stamps: of its quota.
    """

    __slots__ = ("acquire", "stamps")

    script: ClassVar[str] = _GIVE_BACK

    def __init__(self, acquire: Acquire, stamps: tuple[int, ...]) -> None:
        self.acquire = acquire
        self.stamps = stamps

    def __call__(self, log: Value | None, now: int) -> tuple[Value | None, Quota]:
        at = self._entry(log or ())
        if log and at is not None:
            left = log[at + 1] - 1
            log = (*log[:at], log[at], left, *log[at + 2 :]) if left else (*log[:at], *log[at + 2 :])
        return self.acquire.peek(log or None, now)

    @property
    def arguments(self) -> tuple[int, ...]:
        """The arguments of the Lua script."""
        return (self.acquire.limit, self.acquire.window, self.acquire.grain, *self.stamps)

    def answer(self, ints: tuple[int, ...]) -> Quota:
        """Convert the Lua script's result."""
        remaining, reset, wait = ints
        return Quota(self.acquire.limit, remaining, reset, wait)

    def _entry(self, log: Value) -> int | None:
        """Where the log has the request: in a log that was converted to buckets, at the end of a bucket."""
        grain, entries = self.acquire.grain, log[::2]
        for stamp in self.stamps:
            for own in (stamp, -(-stamp // grain) * grain):
                if own in entries:
                    return 2 * entries.index(own)
        return None

    def refusal(self, log: Value | None, now: int) -> None:
        """Return ``None``: it is never refused (``state.fallback.Confirmed``)."""

    def confirmed(self, answer: Quota, write: Callable[[], Quota]) -> Quota:
        """Give it back in both logs. Return the stricter quota."""
        return min(answer, write(), key=lambda quota: quota.remaining)

    def divided(self, among: int) -> GiveBack:
        """Return the change for one of so many workers, when each enforces its share of the limit alone."""
        return GiveBack(self.acquire.divided(among), self.stamps)
