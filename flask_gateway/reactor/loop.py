"""The reactor and its thread."""

from __future__ import annotations

import logging
import math
import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from heapq import heapify, heappop, heappush

from .fair_poller import TIME_SLICE, FairPoller
from .hangup import is_gone, open_hangups

log = logging.getLogger(__name__)

#: The longest sleep, seconds; nothing is known to need it to be finite.
LONGEST_SLEEP = 60.0
#: After how long the kernel is told of a peer that is watched, seconds: it takes two calls to the kernel.
YOUTH = 0.1
#: The cancelled entries that the heap may hold, beside as many as are alive.
SPARE = 64


class Registration:
    """Something asked of a reactor (``core.Handle``)."""

    __slots__ = ("_loop", "call", "fd", "period", "told")

    def __init__(self, loop: _Loop, call: Callable[[], None], period: float = 0.0, fd: int = -1) -> None:
        self._loop = loop
        #: What is to be called; ``None`` when that is over. Guarded by the loop's lock.
        self.call: Callable[[], None] | None = call
        self.period = period
        self.fd = fd
        #: Whether the kernel has been told of the descriptor. Guarded by the loop's lock.
        self.told = False

    def cancel(self) -> None:
        """Call it off. Waits if it is being called right now, unless by the one who calls this."""
        self._loop.cancel(self)


class Reactor:
    """Shared by all threads of a process, one per process.

    Its thread is started by the first who needs it. A fork leaves it behind, and the child gets its own.
    """

    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._loop: _Loop | None = None

    def at(self, when: float, ring: Callable[[], None]) -> Registration:
        """Have ``ring`` called once, soon after ``when``, seconds of ``time.monotonic()``."""
        loop = self._running()
        return loop.ring(when, Registration(loop, ring))

    def every(self, seconds: float, ring: Callable[[], None]) -> Registration:
        """Have ``ring`` called again and again, the first time in so many seconds."""
        loop = self._running()
        return loop.ring(time.monotonic() + seconds, Registration(loop, ring, seconds))

    def watch(self, sock: socket.socket, left: Callable[[], None]) -> Registration:
        """Have ``left`` called once when the peer has hung up, be it only its sending half.

        Nothing is read, and what waits to be read makes no difference. A socket has one handle at a
        time, which is to be cancelled before the socket is closed; one that is closed is left alone.
        The kernel is told of it a little later, for most of them are over by then.
        """
        loop = self._running()
        return loop.watch(Registration(loop, left, fd=sock.fileno()))

    @property
    def poller(self) -> FairPoller:
        """The descriptors that its thread looks after beside the clocks. They are that thread's: what is to
        be waited for is said there.

        :raises OSError: this platform cannot."""
        poller = self._running().poller
        if poller is None:
            raise OSError("there is no epoll on this platform")
        return poller

    def longest_iteration(self) -> float:
        """How long at most, since this was last asked, the thread has been at work from one look at all
        that it has to look after to the next. Seconds, by the clock."""
        loop = self._loop
        return loop.longest_iteration() if loop is not None and loop.pid == os.getpid() else 0.0

    def __len__(self) -> int:
        """How many handles are not over."""
        loop = self._loop
        return loop.alive if loop is not None and loop.pid == os.getpid() else 0

    def close(self) -> None:
        """End the thread, once nobody asks for anything any more; what was asked for is forgotten."""
        with self._starting:
            loop, self._loop = self._loop, None
        if loop is not None and loop.pid == os.getpid():
            loop.stop()

    def _running(self) -> _Loop:
        loop = self._loop
        if loop is not None and loop.pid == os.getpid():
            return loop
        with self._starting:
            loop = self._loop
            if loop is None or loop.pid != os.getpid():
                loop = _Loop()
                loop.thread.start()  # where there is no thread to be had, the next one asks again
                self._loop = loop
        return loop


class _Loop:
    """What the thread does, and what the others ask of it, guarded by the lock.

    The heap holds ``(when, number, handle)``. A handle that is cancelled stays in it until it comes up,
    or until there are too many of its kind.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.thread = threading.Thread(target=self._run, name="reactor", daemon=True)
        self.alive = 0
        self._lock = threading.Lock()
        self._called = threading.Condition(self._lock)
        self._heap: list[tuple[float, int, Registration]] = []
        self._number = self._rings = 0  # the rings are those that are alive
        self._peers: dict[int, Registration] = {}
        #: Those that the kernel has yet to be told of, and when.
        self._young: deque[tuple[float, Registration]] = deque()
        self._calling: Registration | None = None
        self._wakes = math.inf  # when the thread wakes by itself
        #: When it was last looked who is ready, and the longest from there to the next look. Seconds.
        self._looked, self._longest = math.inf, 0.0
        self._stopped = False
        self._sockets = open_hangups()
        #: Everything that the thread waits for. Not the set of those that may hang up: what is taken out of
        #: this one was put in by the same thread, so a number that has meanwhile become another's descriptor
        #: cannot be confused.
        self._epoll = select.epoll() if self._sockets.fileno() >= 0 else None
        self.poller: FairPoller | None = None
        if self._epoll is not None:
            self.poller = FairPoller(self._epoll)
            self.poller.wait_for(self._sockets.fileno(), select.EPOLLIN, lambda _: self._hung_up(0))

    def ring(self, when: float, handle: Registration) -> Registration:
        with self._lock:
            self.alive += 1
            self._rings += 1
            self._push(when, handle)
            early = when < self._wakes
            if early:
                self._wakes = when
        if early:
            self._sockets.wake()
        return handle

    def watch(self, handle: Registration) -> Registration:
        if handle.fd < 0:
            handle.call = None
            return handle
        with self._lock:
            self._end(self._peers.get(handle.fd))  # of a socket that was closed without a word
            self.alive += 1
            self._peers[handle.fd] = handle
            when = time.monotonic() + YOUTH
            self._young.append((when, handle))
            early = when < self._wakes
            if early:
                self._wakes = when
        if early:
            self._sockets.wake()
        return handle

    def _tell(self) -> None:
        """Tell the kernel of the descriptors that are still watched after a while. On the thread."""
        now, failed = time.monotonic(), []
        with self._lock:
            while self._young and (self._young[0][0] <= now or self._young[0][1].call is None):
                handle = self._young.popleft()[1]
                if handle.call is None:
                    continue
                try:
                    # Under the lock: who cancels it afterwards finds it told, and takes it back.
                    self._sockets.add(handle.fd)
                    handle.told = True
                except (OSError, ValueError):
                    failed.append(handle)
        for handle in failed:
            self.cancel(handle)

    def cancel(self, handle: Registration) -> None:
        if self.pid != os.getpid():
            return  # all of it is our parent's, the lock and the epoll set too
        with self._lock:
            watched = self._end(handle) and handle.told
            while self._calling is handle and threading.current_thread() is not self.thread:
                self._called.wait()
        if watched:
            self._sockets.remove(handle.fd)

    def stop(self) -> None:
        self._stopped = True
        self._sockets.wake()
        self.thread.join()
        self._sockets.close()
        if self._epoll is not None:
            self._epoll.close()

    def _push(self, when: float, handle: Registration) -> None:
        if len(self._heap) > 2 * self._rings + SPARE:
            self._heap = [entry for entry in self._heap if entry[2].call is not None]
            heapify(self._heap)
        self._number += 1
        heappush(self._heap, (when, self._number, handle))

    def _end(self, handle: Registration | None) -> bool:
        """Whether it was this that ended the handle."""
        if handle is None or handle.call is None:
            return False
        handle.call = None
        self.alive -= 1
        if handle.fd < 0:
            self._rings -= 1
        else:
            del self._peers[handle.fd]
        return True

    def _run(self) -> None:
        while not self._stopped:
            try:
                self._turn()
            except Exception:  # without this thread no clock rings
                log.exception("the reactor stumbled")
                time.sleep(0.1)

    def longest_iteration(self) -> float:
        longest, self._longest = self._longest, 0.0
        return longest

    def _turn(self) -> None:
        now = time.monotonic()
        if now >= self._wakes:
            self._ring_due(now + TIME_SLICE)
            now = time.monotonic()
        # Once an event, mostly, and so without calls of max and min.
        if now - self._looked > self._longest:
            self._longest = now - self._looked
        seconds = self._wakes - now
        if not 0.0 <= seconds <= LONGEST_SLEEP:
            seconds = 0.0 if seconds < 0.0 else LONGEST_SLEEP
        if self.poller is None:
            self._hung_up(seconds)
        else:
            self.poller.poll(seconds)
            self._looked = self.poller.now
            self.poller.dispatch()

    def _ring_due(self, until: float) -> None:
        """What is due. What is so yet when the time is over is due in the next turn, too."""
        self._tell()
        while due := self._next_due():
            self._call(*due)
            if time.monotonic() >= until:
                break

    def _next_due(self) -> tuple[Registration, Callable[[], None]] | None:
        now = time.monotonic()
        with self._lock:
            while self._heap and (self._heap[0][2].call is None or self._heap[0][0] <= now):
                handle = heappop(self._heap)[2]
                if handle.call is not None:
                    if self.poller is not None:
                        self.poller.now = now
                    return handle, self._begin(handle)
            self._wakes = min(queue[0][0] if queue else math.inf for queue in (self._heap, self._young))
            return None

    def _hung_up(self, seconds: float) -> None:
        found = self._sockets.wait(seconds)
        if self.poller is None:
            self._looked = time.monotonic()
        for fd in found:
            self._may_be_gone(fd)

    def _may_be_gone(self, fd: int) -> None:
        """The descriptor may by now be another socket's than the one that was told of, so it is asked
        again. While its handle is alive, which is seen after that, its socket is not closed."""
        with self._lock:
            handle = self._peers.get(fd)
        if handle is None or not is_gone(fd):
            return
        with self._lock:
            if handle.call is None:
                return
            call = self._begin(handle)
        self._sockets.remove(fd)
        self._call(handle, call)

    def _begin(self, handle: Registration) -> Callable[[], None]:
        call = handle.call
        assert call is not None
        self._calling = handle
        if not handle.period:
            self._end(handle)
        return call

    def _call(self, handle: Registration, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception:
            log.exception("a callback of the reactor failed")
        with self._lock:
            self._calling = None
            if handle.call is not None:
                self._push(time.monotonic() + handle.period, handle)
            self._called.notify_all()
