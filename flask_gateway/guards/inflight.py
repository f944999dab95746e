"""Counts and limits the calls in flight of this process, and cancels all of them at shutdown.

Calls never queue behind long calls of other callers. A call holds its thread until its answer ends or the
relay takes it over (``streaming/relay.py``). So a few threads are reserved for requests that are no calls,
such as health checks. If several callers or upstreams share a process, none of them may hold all its threads.
Calls above these limits are refused at once, with a ``Retry-After``. A stream above its caller's share may
wait without a thread (:class:`AwaitsTurn`), because streams soon hand theirs over.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Generic, NamedTuple, TypeVar

from ..model.call import Call, Outcome
from ..model.errors import RETRY_SOON, GatewayError, Overloaded, UpstreamFull

#: The largest part of a process's threads that one caller or one upstream may hold if there are several.
SHARE = 0.75
#: The weight of one interval in the moving average of the pace, and the longest interval, seconds.
PACE_WEIGHT, PACE_LIMIT = 0.1, 1.0


#: The keys in the WSGI environ of a request that may wait: since when, seconds, and its body that was read.
MAY_WAIT_SINCE, READ_BODY = "flask_gateway.may_wait_since", "flask_gateway.body"


class NoThreadToWait(Overloaded):
    """No thread may wait for the rest of this request's body."""


class AwaitsTurn(BaseException):
    """A stream may wait, because its caller holds its share of the threads. Nothing counts for it.

    It is no :class:`Exception`, so nothing on the way answers or records it.

    :ivar caller: the caller's id.
    """

    def __init__(self, caller: str) -> None:
        super().__init__(caller)
        self.caller = caller


class ThreadUsage(NamedTuple):
    """The threads of a worker at one moment.

    :param busy: threads that read or serve a request. :param most: how many threads calls may hold.
    :param held: busy threads that calls hold.
    :param starting: held threads of streams, which will soon hand over to the relay.
    :param pace: recent average time between two released threads, seconds.
    :param moved: when the last thread was released, seconds.
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
    """One upstream's work on a call. The next upstream may begin before this work is settled."""

    __slots__ = ("call", "on_thread", "upstream")

    def __init__(self, call: Call, upstream: str, on_thread: bool) -> None:
        self.call = call
        self.upstream = upstream
        #: Whether it counts towards the upstream's threads.
        self.on_thread = on_thread


class _Entry:
    """One call in flight."""

    __slots__ = ("call", "thread", "work")

    def __init__(self, call: Call) -> None:
        self.call = call
        #: The thread that the call holds; ``None`` after its release.
        self.thread: int | None = threading.get_ident()
        #: The upstreams' work on the call, in the order in which they began. Usually there is one.
        self.work: list[_Work] = []


class InFlightCalls:
    """The calls in flight of a process. Shared by its threads, guarded by its lock.

    :param max_streams: the most streams at once.
    :param callers: how many callers there are. A single one has no share to keep to.
    :param upstreams: how many upstreams there are. A single one has no share to keep to.
    :param shed: called with the reason of each refusal.
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
        #: The callers of requests whose body is awaited, by thread. They count as calls that hold a thread.
        self._awaited: dict[int, str] = {}
        self._by_caller: dict[str, int] = {}
        self._by_upstream: dict[str, int] = {}
        self._streams = self._starting = 0
        #: When a thread was last released, and the average time between two releases. Seconds.
        self._moved, self._pace = 0.0, 0.0
        #: Called with a caller's id, under the lock, when one of its threads becomes free.
        self.freed: Callable[[str], None] = _nothing
        #: The most threads that calls may hold: those of one caller, of one upstream, and all calls.
        self._most: tuple[float, float, float] = (math.inf, math.inf, math.inf)
        self.change(max_streams, callers, upstreams)

    def change(self, max_streams: int, callers: int, upstreams: int) -> None:
        """Set other limits. Calls in flight continue and keep counting."""
        self._max_streams = max_streams
        self._several = (callers > 1, upstreams > 1)
        self.limit_threads(self._most[2])

    def limit_threads(self, threads: float) -> None:
        """Limit the threads that calls may hold, so that some are left for other requests."""
        share = max(1, math.floor(threads * SHARE)) if threads < math.inf else threads
        of_caller, of_upstream = (share if several else threads for several in self._several)
        self._most = (of_caller, of_upstream, threads)

    @property
    def streams(self) -> int:
        return self._streams

    def thread_usage(self, busy: int = 0) -> ThreadUsage:
        """Return the use of the threads now.

        :param busy: threads that read or serve a request. Threads that calls hold count at least.
        """
        held = len(self._holders) + len(self._awaited)
        return ThreadUsage(max(busy, held), self._most[2], held, self._starting, self._pace, self._moved)

    @property
    def is_full(self) -> bool:
        """Whether calls hold as many threads as they may."""
        return len(self._holders) + len(self._awaited) >= self._most[2]

    @property
    def threads(self) -> int:
        """How many threads the calls hold."""
        return len(self._holders)

    def standing(self, now: float) -> list[tuple[str, float]]:
        """Return each call's current upstream, empty if it has none, and its age in seconds."""
        with self._lock:
            entries = list(self._calls.values())
        return [(_at_work(entry), now - entry.call.started) for entry in entries]

    def admit(self, call: Call) -> InFlightPermit[Call]:
        """:raises Overloaded: a limit of calls in flight is reached.
        :raises AwaitsTurn: the caller's share is reached, and the call may wait."""
        refusal = self._enter(call)
        if refusal:
            if refusal == "share" and call.may_wait and not (call.whole or call.plugins):
                raise AwaitsTurn(call.caller.id)
            self._shed(refusal)
            raise Overloaded(f"{_MESSAGES[refusal]} Try again in a moment.", retry_after=RETRY_SOON)
        return InFlightPermit(self._leave, call)

    def has_share(self, caller: str) -> bool:
        """Whether the caller may hold another thread."""
        return self._by_caller.get(caller, 0) < self._most[0]

    def wait_for_body(self, caller: str) -> None:
        """Count the calling thread as one that its caller holds, until its call begins or
        :meth:`release_thread`. Called when the rest of a request body has not arrived.

        :raises NoThreadToWait: the caller, or all callers together, hold as many threads as they may.
        """
        of_caller, _, of_all = self._most
        thread = threading.get_ident()
        with self._lock:
            if thread in self._awaited:
                return
            held = self._by_caller.get(caller, 0)
            refusal = "threads" if len(self._holders) + len(self._awaited) >= of_all else ""
            refusal = "share" if held >= of_caller else refusal
            if not refusal:
                self._awaited[thread] = caller
                self._by_caller[caller] = held + 1
        if refusal:
            self._shed(refusal)
            raise NoThreadToWait(f"{_MESSAGES[refusal]} Try again in a moment.", retry_after=RETRY_SOON)

    def _body_arrived(self) -> None:
        caller = self._awaited.pop(threading.get_ident(), None)
        if caller is not None:
            _take_one(self._by_caller, caller)

    def _enter(self, call: Call) -> str:
        """Count the call. Return the reason of a refusal; empty if it is admitted."""
        of_caller, _, of_all = self._most
        with self._lock:
            if self._awaited:
                self._body_arrived()
            if call.stream and self._streams >= self._max_streams:
                return "streams"
            if len(self._holders) + len(self._awaited) >= of_all:
                return "threads"
            by_caller, caller = self._by_caller, call.caller.id
            held = by_caller.get(caller, 0)
            if held >= of_caller:
                return "share"
            entry = _Entry(call)
            self._calls[id(call.cancellation)] = self._holders[threading.get_ident()] = entry
            by_caller[caller] = held + 1
            self._streams += call.stream
            self._starting += call.stream
        return ""

    def _leave(self, call: Call) -> None:
        with self._lock:
            entry = self._calls.pop(id(call.cancellation))
            self._streams -= call.stream
            self._release_thread(entry)

    def release_thread(self) -> None:
        """Release the calling thread, because it serves its call no longer."""
        with self._lock:
            if self._awaited:
                self._body_arrived()
            entry = self._holders.get(threading.get_ident())
            if entry is not None:
                self._release_thread(entry)

    def _release_thread(self, entry: _Entry) -> None:
        if entry.thread is None:
            return
        if self._holders.get(entry.thread) is entry:
            del self._holders[entry.thread]
        entry.thread = None
        self._starting -= entry.call.stream
        now = time.monotonic()
        # Not the time before the call began: then nobody waited for a thread.
        since = max(self._moved, entry.call.started)
        self._pace += (min(now - since, PACE_LIMIT) - self._pace) * PACE_WEIGHT
        self._moved = now
        _take_one(self._by_caller, entry.call.caller.id)
        for work in entry.work:
            if work.on_thread:
                self._off_thread(work)
        self.freed(entry.call.caller.id)

    # ---------------------------------------------------------------- the upstreams' work

    def enter(self, call: Call, upstream: str) -> _Work | None:
        """Count an upstream's work on the call; ``None`` if the upstream holds its share of the threads."""
        with self._lock:
            entry = self._calls.get(id(call.cancellation))
            on_thread = entry is not None and entry.thread is not None
            work = _Work(call, upstream, on_thread)
            if entry is None:
                return work
            if on_thread:
                held = self._by_upstream.get(upstream, 0)
                if held >= self._most[1]:
                    return None
                self._by_upstream[upstream] = held + 1
            entry.work.append(work)
            return work

    def leave(self, work: _Work) -> None:
        """Stop counting this work. Work that began after it keeps counting."""
        with self._lock:
            entry = self._calls.get(id(work.call.cancellation))
            if entry is not None and work in entry.work:
                entry.work.remove(work)
            if work.on_thread:
                self._off_thread(work)

    def _off_thread(self, work: _Work) -> None:
        work.on_thread = False
        _take_one(self._by_upstream, work.upstream)

    # ---------------------------------------------------------------- shutdown

    def end(self, error: Callable[[], GatewayError], callers: Collection[str] | None = None) -> int:
        """Cancel all calls, or those of some callers. Return how many there were.

        :param callers: ids of callers; ``None``: all.
        """
        with self._lock:
            calls = [entry.call for entry in self._calls.values()]
        if callers is not None:
            calls = [call for call in calls if call.caller.id in callers]
        for call in calls:
            call.cancellation.cancel(error())
        return len(calls)


Counted = TypeVar("Counted", Call, _Work)

_MESSAGES = {
    "streams": "This server has as many streams in progress as it can serve.",
    "threads": "This server has as many calls in progress as it can serve.",
    "share": "This key has as many calls in progress here as one key may have.",
}


def _nothing(caller: str) -> None:
    """Stands for ``freed`` where no stream waits."""


def _at_work(entry: _Entry) -> str:
    """Return the upstream that began last; empty if there is none."""
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


class InFlightPermit(Generic[Counted]):
    """The permit of a call in flight. Settling it again does nothing.

    :param leave: called once, with what was counted.
    """

    __slots__ = ("_counted", "_leave")

    headers: Mapping[str, str] = {}

    def __init__(self, leave: Callable[[Counted], None], counted: Counted) -> None:
        self._leave: Callable[[Counted], None] | None = leave
        self._counted: Counted = counted

    def settle(self, outcome: Outcome | None) -> None:
        """Count the call no longer."""
        leave, self._leave = self._leave, None
        if leave is not None:
            leave(self._counted)

    def cancel(self) -> None:
        self.settle(None)


class UpstreamThreadQuota:
    """Keeps one slow upstream from holding all threads of the process (``model.protocols.Guard``)."""

    def __init__(self, upstream: str, inflight: InFlightCalls) -> None:
        self._upstream = upstream
        self._inflight = inflight

    def admit(self, call: Call) -> InFlightPermit[_Work]:
        """:raises UpstreamFull: calls to the upstream hold as many threads as one upstream may hold."""
        work = self._inflight.enter(call, self._upstream)
        if work is None:
            raise UpstreamFull(
                f"Upstream '{self._upstream}' has as many calls in progress here as one upstream may have. "
                "Try again in a moment.",
                retry_after=RETRY_SOON,
                upstream=self._upstream,
            )
        return InFlightPermit(self._inflight.leave, work)
