"""What this process has under way: how much of it there may be, and how all of it is ended.

Calls are never queued behind other people's long ones. A thread that a call holds is nobody else's until
the answer is over, or carried (``relay.py``); so the last few threads are kept for those who only ask how
things are, and where several callers or upstreams share a process none of them gets all the others. The
rest is refused at once, and told when to come back.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from ..model.call import Call, Outcome
from ..model.errors import GatewayError, Overloaded, UpstreamFull

#: The most of a process's threads that one caller, or one upstream, is given beside others.
SHARE = 0.75
#: How much one interval counts for the pace, and the longest that is counted, seconds.
PACE_WEIGHT, PACE_LIMIT = 0.1, 1.0
#: When to ask again, seconds: nobody knows when a call will end.
RETRY_AFTER = 1.0


class ThreadUsage(NamedTuple):
    """The threads of a worker at a moment.

    :param busy: with a request, be it only to read it; :param most: of so many that calls may hold.
    :param held: those of the busy ones that are held by calls.
    :param starting: those of them that are held by streams, which will let go of them soon.
    :param pace: seconds from one thread that is let go to the next, lately.
    :param moved: when the last one was let go, seconds.
    """

    busy: int
    most: float
    held: int
    starting: int
    pace: float
    moved: float

    @property
    def is_full(self) -> bool:
        return self.busy >= self.most


class _Work:
    """One upstream's work on a call. The next may begin before the end of this one is known."""

    __slots__ = ("call", "on_thread", "upstream")

    def __init__(self, call: Call, upstream: str, *, on_thread: bool) -> None:
        self.call = call
        self.upstream = upstream
        #: Whether it counts among the threads that the upstream holds.
        self.on_thread = on_thread


class _Entry:
    """One call that is under way."""

    __slots__ = ("call", "thread", "work")

    def __init__(self, call: Call) -> None:
        self.call = call
        #: The thread it holds; ``None`` when it holds none any more.
        self.thread: int | None = threading.get_ident()
        #: What upstreams do for it, in the order in which they began; mostly one.
        self.work: list[_Work] = []


class InFlightCalls:
    """The calls of a process (``core.Guard``). Shared by its threads, guarded by its lock.

    :param max_streams: the most streams at once.
    :param callers: how many there may be, and :param upstreams: likewise; of one alone there is no sharing.
    :param shed: told the reason of each refusal.
    """

    def __init__(
        self,
        max_streams: int,
        callers: int = 1,
        upstreams: int = 1,
        shed: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._shed = shed
        self._lock = threading.Lock()
        self._calls: dict[int, _Entry] = {}
        self._holders: dict[int, _Entry] = {}
        self._by_caller: dict[str, int] = {}
        self._by_upstream: dict[str, int] = {}
        self._streams = self._starting = 0
        #: When a thread was last let go, and how long it takes from one to the next, lately. Seconds.
        self._moved, self._pace = 0.0, 0.0
        #: The most threads that calls may hold: of one caller, of one upstream, and of all.
        self._most: tuple[float, float, float] = (math.inf, math.inf, math.inf)
        self.change(max_streams, callers, upstreams)

    def change(self, max_streams: int, callers: int, upstreams: int) -> None:
        """Other ceilings from now on. What is under way counts as before, and none of it is ended."""
        self._max_streams = max_streams
        self._several = (callers > 1, upstreams > 1)
        self.limit_threads(self._most[2])

    def limit_threads(self, threads: float) -> None:
        """Have calls hold no more than these, so that some are left for other requests."""
        share = max(1, math.floor(threads * SHARE)) if threads < math.inf else threads
        of_caller, of_upstream = (share if several else threads for several in self._several)
        self._most = (of_caller, of_upstream, threads)

    @property
    def streams(self) -> int:
        return self._streams

    def crowd(self, busy: int = 0) -> ThreadUsage:
        """How the threads stand now.

        :param busy: with a request, be it only to read it; as many at least as calls hold.
        """
        held = len(self._holders)
        return ThreadUsage(max(busy, held), self._most[2], held, self._starting, self._pace, self._moved)

    @property
    def threads(self) -> int:
        """How many threads are held."""
        return len(self._holders)

    def standing(self, now: float) -> list[tuple[str, float]]:
        """Of each call the upstream that is at work on it, empty if none is, and its age in seconds."""
        with self._lock:
            entries = list(self._calls.values())
        return [(_at_work(one), now - one.call.started) for one in entries]

    def admit(self, call: Call) -> InFlightPermit:
        """:raises Overloaded: there is as much under way as there may be."""
        refusal = self._enter(call)
        if refusal:
            self._shed(refusal)
            raise Overloaded(f"{_TOLD[refusal]} Try again in a moment.", retry_after=RETRY_AFTER)
        return InFlightPermit(lambda: self._leave(call))

    def _enter(self, call: Call) -> str:
        """Why the call may not be under way; empty when it is."""
        of_caller, _, of_all = self._most
        with self._lock:
            if call.stream and self._streams >= self._max_streams:
                return "streams"
            if len(self._holders) >= of_all:
                return "threads"
            by_caller, caller = self._by_caller, call.caller.id
            now = by_caller.get(caller, 0)
            if now >= of_caller:
                return "share"
            entry = _Entry(call)
            self._calls[id(call.cancellation)] = self._holders[threading.get_ident()] = entry
            by_caller[caller] = now + 1
            self._streams += call.stream
            self._starting += call.stream
        return ""

    def _leave(self, call: Call) -> None:
        with self._lock:
            entry = self._calls.pop(id(call.cancellation))
            self._streams -= call.stream
            self._let_go(entry)

    def let_go(self) -> None:
        """This thread is free again, whatever becomes of the call it held."""
        with self._lock:
            entry = self._holders.get(threading.get_ident())
            if entry is not None:
                self._let_go(entry)

    def _let_go(self, entry: _Entry) -> None:
        if entry.thread is None:
            return
        if self._holders.get(entry.thread) is entry:
            del self._holders[entry.thread]
        entry.thread = None
        self._starting -= entry.call.stream
        now = time.monotonic()
        self._pace += (min(now - self._moved, PACE_LIMIT) - self._pace) * PACE_WEIGHT
        self._moved = now
        _take_one(self._by_caller, entry.call.caller.id)
        for work in entry.work:
            self._off_thread(work)

    # ---------------------------------------------------------------- one upstream's part

    def enter(self, call: Call, upstream: str) -> _Work | None:
        """Put an upstream to work on the call; ``None`` if it holds as many threads as it is given."""
        with self._lock:
            entry = self._calls.get(id(call.cancellation))
            if entry is None:
                return _Work(call, upstream, on_thread=False)
            work = _Work(call, upstream, on_thread=entry.thread is not None)
            if work.on_thread:
                now = self._by_upstream.get(upstream, 0)
                if now >= self._most[1]:
                    return None
                self._by_upstream[upstream] = now + 1
            entry.work.append(work)
            return work

    def leave(self, work: _Work) -> None:
        """End this work, and no other that has begun since."""
        with self._lock:
            entry = self._calls.get(id(work.call.cancellation))
            if entry is not None and work in entry.work:
                entry.work.remove(work)
            self._off_thread(work)

    def _off_thread(self, work: _Work) -> None:
        if work.on_thread:
            work.on_thread = False
            _take_one(self._by_upstream, work.upstream)

    # ---------------------------------------------------------------- the end

    def end(self, error: Callable[[], GatewayError]) -> int:
        """Call all of it off. How much that was."""
        with self._lock:
            calls = [entry.call for entry in self._calls.values()]
        for call in calls:
            call.cancellation.cancel(error())
        return len(calls)


_TOLD = {
    "streams": "This server carries as many streams as it can.",
    "threads": "This server has as many calls under way as it can serve.",
    "share": "This key has as many calls under way here as one key is given.",
}


def _at_work(entry: _Entry) -> str:
    """The upstream that was the last to begin; empty if none is at work."""
    work = entry.work
    try:
        return work[-1].upstream
    except IndexError:
        return ""


def _take_one(counts: dict[str, int], name: str) -> None:
    left = counts[name] - 1
    if left:
        counts[name] = left
    else:
        del counts[name]


class InFlightPermit:
    """Settling it twice does nothing."""

    headers: Mapping[str, str] = {}

    def __init__(self, leave: Callable[[], None]) -> None:
        self._leave: Callable[[], None] | None = leave

    def settle(self, outcome: Outcome) -> None:
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()


class UpstreamThreadQuota:
    """Keeps one slow upstream from holding all threads of the process (``core.Guard``)."""

    def __init__(self, upstream: str, underway: InFlightCalls) -> None:
        self._upstream = upstream
        self._underway = underway

    def admit(self, call: Call) -> InFlightPermit:
        """:raises UpstreamFull: it holds as many threads here as one upstream is given."""
        work = self._underway.enter(call, self._upstream)
        if work is None:
            raise UpstreamFull(
                f"Upstream '{self._upstream}' has as many calls under way here as one upstream is given.",
                retry_after=RETRY_AFTER,
                upstream=self._upstream,
            )
        return InFlightPermit(lambda: self._underway.leave(work))
