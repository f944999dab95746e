"""Holds amounts for the next calls of a busy process, so that most of its calls change nothing in the store.

A process that reserves of a subject often takes an **allotment** with one of its reservations: the amount of
the next calls. They draw on it without the store. An allotment is small against what is left, and ends within
a fifth of a second; what is left of it goes back. So a subject of which little is left has no allotments, and
every call of it asks the store: a limit is as exact as without them.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Hashable
from typing import Generic, NamedTuple, TypeVar

from ..reactor.while_any import WhileAny

#: The calls that an allotment is for. So many times the amount of a call must be left when it is taken: more
#: than the calls of a machine use within the time that an allotment lasts.
CALLS, ROOM = 64, 4096
#: How long an allotment lasts, seconds.
LASTS = 0.2
#: A process that reserves of a subject so often within that time is busy.
BUSY = 16
#: The subjects whose pace is remembered.
MOST = 1024

Grant = TypeVar("Grant")


class Drawn(NamedTuple, Generic[Grant]):
    """The allotment that a call has drawn on. :param free: the rest of it."""

    grant: Grant
    free: int


class _Pace(Generic[Grant]):
    """The pace of one subject in this process, and its allotment.

    :ivar asked: reservations since ``began``. :ivar left: of the limit, after the latest one in the store.
    :ivar filling: a thread is about to take an allotment.
    :ivar place: of the amount in the store's value. :ivar until: the end of the allotment.
    """

    __slots__ = (
        "asked",
        "began",
        "busy",
        "filling",
        "free",
        "grant",
        "left",
        "place",
        "terms",
        "until",
    )

    def __init__(self, now: float) -> None:
        self.began, self.until = now, 0.0
        self.asked = self.left = self.free = self.place = 0
        self.busy = self.filling = False
        self.grant: Grant | None = None
        self.terms: Hashable = None

    def with_another(self, now: float) -> tuple[bool, float, int]:
        """``busy``, ``began`` and ``asked`` after another reservation."""
        asked, time = self.asked + 1, now - self.began
        if time < LASTS:
            return self.busy, self.began, asked
        return asked * LASTS >= BUSY * time, now, 0

    def more(self, amount: int) -> int | None:
        """Return how much to reserve for later calls; ``None``: no allotment is due."""
        busy = self.busy or self.asked >= BUSY
        if not busy or self.filling or not amount or self.left < ROOM * amount:
            return None
        return max(0, CALLS * amount - self.free)


class Allotments(Generic[Grant]):
    """The allotments of one process, by the store's key. Threads share it: ``_lock`` guards it.

    :param give_back: gives an amount back to its place in the store's value of a key.
    :param clock: seconds.
    """

    def __init__(
        self,
        name: str,
        give_back: Callable[[str, int, int], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.clock = clock
        self._give_back = give_back
        self._lock = threading.Lock()
        self._paces: dict[str, _Pace[Grant]] = {}
        self._thread = WhileAny(name, LASTS / 2, self.end_old, self.end_all)

    def draw(self, key: str, terms: Hashable, amount: int) -> Drawn[Grant] | None:
        """Draw an amount on the allotment of a key; ``None``: reserve it in the store.

        :param terms: the limits of the call. An allotment of other limits is not drawn on.
        """
        pace = self._paces.get(key)
        if pace is None or pace.grant is None:
            return None
        with self._lock:
            if pace.grant is None or amount > pace.free or pace.terms != terms or self.clock() >= pace.until:
                return None
            pace.asked += 1
            pace.free -= amount
            return Drawn(pace.grant, pace.free)

    def wanted(self, key: str, amount: int) -> int:
        """Return how much to reserve for later calls with an amount; 0: nothing.

        Call :meth:`reserved` next, with what the store has answered.
        """
        now = self.clock()
        with self._lock:
            pace = self._paces.get(key) or self._new(key, now)
            pace.busy, pace.began, pace.asked = pace.with_another(now)
            more = pace.more(amount)
            if more is None:
                return 0
            pace.filling = True
            return more

    def foreseen(self, key: str, terms: Hashable, amount: int) -> int:
        """Return what a call with an amount is going to reserve in the store; 0: it draws on the allotment.

        It changes nothing. Another thread may come between this and the call.
        """
        pace = self._paces.get(key)
        if pace is None:
            return amount
        now = self.clock()
        with self._lock:
            if pace.grant is not None and amount <= pace.free and pace.terms == terms and now < pace.until:
                return 0
            later = _Pace[Grant](now)
            later.busy, later.began, later.asked = pace.with_another(now)
            later.filling, later.left, later.free = pace.filling, pace.left, pace.free
            return amount + (later.more(amount) or 0)

    def reserved(self, key: str, left: int) -> None:
        """Note what is left after a reservation for one call, or after a refusal."""
        pace = self._paces.get(key)
        if pace is not None:
            pace.left, pace.filling = left, False

    def take(  # noqa: PLR0913  the parts of an allotment
        self, key: str, terms: Hashable, grant: Grant, place: int, free: int, left: int, until: float
    ) -> None:
        """Keep an allotment. The rest of the one before it stays in it, or goes back.

        :param grant: what calls that draw on it get. :param place: of the amount in the store's value.
        :param left: behind the allotment.
        """
        with self._lock:
            pace = self._paces.get(key) or self._new(key, self.clock())
            old, rest = pace.place, pace.free
            if left * CALLS < free * ROOM // 2:  # others have used much meanwhile
                until = 0.0
            if old == place:
                free, rest = free + rest, 0
            pace.terms, pace.grant, pace.place, pace.free, pace.until = terms, grant, place, free, until
            pace.left, pace.filling = left, False
        if rest:
            self._give_back(key, old, rest)
        self._thread.start()

    def put_back(self, key: str, place: int, amount: int) -> bool:
        """Put an amount that a call did not use into the allotment. ``False``: it has ended.

        :param amount: below 0: take more out.
        """
        pace = self._paces.get(key)
        if pace is None or pace.grant is None:
            return False
        with self._lock:
            if pace.place != place or pace.free + amount < 0 or self.clock() >= pace.until:
                return False
            pace.free += amount
            return True

    def current(self, key: str) -> Grant | None:
        """The allotment of a key that calls may draw on now."""
        pace = self._paces.get(key)
        return None if pace is None or self.clock() >= pace.until else pace.grant

    def end_old(self) -> bool:
        """Give back what is left of allotments that have ended. Return whether there are others."""
        return self._end(self.clock())

    def end_all(self) -> bool:
        """Give back what is left of all allotments: the process exits."""
        return self._end(math.inf)

    def _end(self, now: float) -> bool:
        ended = []
        with self._lock:
            for key, pace in self._paces.items():
                if pace.grant is not None and now >= pace.until:
                    ended.append((key, pace.place, pace.free))
                    pace.grant, pace.free = None, 0
            going = any(pace.grant is not None for pace in self._paces.values())
        for key, place, free in ended:
            if free:
                self._give_back(key, place, free)
        return going

    def _new(self, key: str, now: float) -> _Pace[Grant]:
        if len(self._paces) >= MOST:
            self._paces = {key: pace for key, pace in self._paces.items() if pace.grant is not None}
        pace = self._paces[key] = _Pace(now)
        return pace
