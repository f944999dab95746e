"""Runs the reactor: registers timers and hang-up watches, and calls their callbacks on one thread."""

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

#: The longest sleep, seconds. A bound as a precaution: no known case needs it.
LONGEST_SLEEP = 60.0
#: How long a new hang-up watch waits before epoll learns of it, seconds. Registering costs two system calls,
#: and most watches are over by then.
REGISTER_DELAY = 0.1
#: How many more cancelled entries than live ones the heap may hold.
SPARE = 64


class Registration:
    """One timer or hang-up watch of a reactor (``model.protocols.Handle``)."""

    __slots__ = ("_loop", "call", "fd", "period", "registered")

    def __init__(self, loop: _Loop, call: Callable[[], None], period: float = 0.0, fd: int = -1) -> None:
        self._loop = loop
        #: The callback; ``None`` once the registration has ended. Guarded by the loop's lock.
        self.call: Callable[[], None] | None = call
        self.period = period
        self.fd = fd
        #: Whether epoll knows the descriptor. Guarded by the loop's lock.
        self.registered = False

    def cancel(self) -> None:
        """End the registration. Waits for a running callback, unless the callback itself cancels."""
        self._loop.cancel(self)


class Reactor:
    """Shared by all threads of a process, one per process.

    The first registration starts its thread. After a fork the child starts a thread of its own.
    """

    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._loop: _Loop | None = None

    def at(self, when: float, ring: Callable[[], None]) -> Registration:
        """Call ``ring`` once, soon after ``when``, seconds of ``time.monotonic()``."""
        loop = self._running()
        return loop.add_timer(when, Registration(loop, ring))

    def every(self, seconds: float, ring: Callable[[], None]) -> Registration:
        """Call ``ring`` every so many seconds, the first time after that period."""
        loop = self._running()
        return loop.add_timer(time.monotonic() + seconds, Registration(loop, ring, seconds))

    def watch(self, sock: socket.socket, left: Callable[[], None]) -> Registration:
        """Call ``left`` once when the peer has hung up. A peer that only stopped sending counts too.

        The reactor reads nothing, and unread data makes no difference. A socket has one registration at a
        time. Cancel it before closing the socket; a closed socket is ignored. epoll learns of the socket
        only after :data:`REGISTER_DELAY`.
        """
        loop = self._running()
        return loop.watch(Registration(loop, left, fd=sock.fileno()))

    @property
    def poller(self) -> FairPoller:
        """The poller of the reactor's thread. Only that thread may register descriptors with it.

        :raises OSError: this platform has no epoll."""
        poller = self._running().poller
        if poller is None:
            raise OSError("there is no epoll on this platform")
        return poller

    def longest_iteration(self) -> float:
        """Return the longest time between two polls since this was last called, seconds of wall time."""
        loop = self._loop
        return loop.longest_iteration() if loop is not None and loop.pid == os.getpid() else 0.0

    def __len__(self) -> int:
        """Return how many registrations have not ended."""
        loop = self._loop
        return loop.alive if loop is not None and loop.pid == os.getpid() else 0

    def close(self) -> None:
        """Stop the thread and forget all registrations. Call it only when no thread registers any more."""
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
                loop.thread.start()  # if no thread can be started, the next registration tries again
                self._loop = loop
        return loop


class _Loop:
    """The reactor's thread and its registrations, guarded by the lock.

    The heap holds ``(when, number, registration)``. A cancelled registration stays in the heap until it is
    due, or until there are too many cancelled ones.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.thread = threading.Thread(target=self._run, name="reactor", daemon=True)
        self.alive = 0
        self._lock = threading.Lock()
        self._called = threading.Condition(self._lock)
        self._heap: list[tuple[float, int, Registration]] = []
        self._number = self._timers = 0  # how many entries there were, and how many timers are alive
        self._watches: dict[int, Registration] = {}
        #: Watches that epoll does not know yet, with the time to register them.
        self._unregistered: deque[tuple[float, Registration]] = deque()
        self._calling: Registration | None = None
        self._wakes = math.inf  # when the thread wakes by itself
        #: When the last poll returned, and the longest time from there to the next poll. Seconds.
        self._polled, self._longest = math.inf, 0.0
        self._stopped = False
        self._hangups = open_hangups()
        #: The epoll set that the thread waits on. It is separate from the set of hang-ups: only this thread
        #: adds and removes here, so a descriptor number that was reused cannot be confused.
        self._epoll = select.epoll() if self._hangups.fileno() >= 0 else None
        self.poller: FairPoller | None = None
        if self._epoll is not None:
            self.poller = FairPoller(self._epoll)
            self.poller.wait_for(self._hangups.fileno(), select.EPOLLIN, lambda _: self._poll_hangups(0))

    def add_timer(self, when: float, registration: Registration) -> Registration:
        with self._lock:
            self.alive += 1
            self._timers += 1
            self._push(when, registration)
            early = when < self._wakes
            if early:
                self._wakes = when
        if early:
            self._hangups.wake()
        return registration

    def watch(self, registration: Registration) -> Registration:
        if registration.fd < 0:
            registration.call = None
            return registration
        with self._lock:
            # An old watch of this number: its socket was closed without cancelling the watch.
            self._end(self._watches.get(registration.fd))
            self.alive += 1
            self._watches[registration.fd] = registration
            when = time.monotonic() + REGISTER_DELAY
            self._unregistered.append((when, registration))
            early = when < self._wakes
            if early:
                self._wakes = when
        if early:
            self._hangups.wake()
        return registration

    def _register_watches(self) -> None:
        """Register with epoll the watches that have outlived the delay. On the reactor's thread."""
        now, failed = time.monotonic(), []
        with self._lock:
            while self._unregistered and (
                self._unregistered[0][0] <= now or self._unregistered[0][1].call is None
            ):
                registration = self._unregistered.popleft()[1]
                if registration.call is None:
                    continue
                try:
                    # Under the lock, so that a later `cancel` sees `registered` and unregisters.
                    self._hangups.add(registration.fd)
                    registration.registered = True
                except (OSError, ValueError):
                    failed.append(registration)
        for registration in failed:
            self.cancel(registration)

    def cancel(self, registration: Registration) -> None:
        if self.pid != os.getpid():
            return  # after a fork: the lock and the epoll set belong to the parent
        with self._lock:
            watched = self._end(registration) and registration.registered
            while self._calling is registration and threading.current_thread() is not self.thread:
                self._called.wait()
        if watched:
            self._hangups.remove(registration.fd)

    def stop(self) -> None:
        self._stopped = True
        self._hangups.wake()
        self.thread.join()
        self._hangups.close()
        if self._epoll is not None:
            self._epoll.close()

    def _push(self, when: float, registration: Registration) -> None:
        if len(self._heap) > 2 * self._timers + SPARE:
            self._heap = [entry for entry in self._heap if entry[2].call is not None]
            heapify(self._heap)
        self._number += 1
        heappush(self._heap, (when, self._number, registration))

    def _end(self, registration: Registration | None) -> bool:
        """End the registration. Return whether this call ended it."""
        if registration is None or registration.call is None:
            return False
        registration.call = None
        self.alive -= 1
        if registration.fd < 0:
            self._timers -= 1
        else:
            del self._watches[registration.fd]
        return True

    def _run(self) -> None:
        while not self._stopped:
            try:
                self._run_once()
            except Exception:  # without this thread no timeout fires
                log.exception("the reactor's loop failed; it continues")
                time.sleep(0.1)

    def longest_iteration(self) -> float:
        longest, self._longest = self._longest, 0.0
        return longest

    def _run_once(self) -> None:
        now = time.monotonic()
        if now >= self._wakes:
            self._call_due(now + TIME_SLICE)
            now = time.monotonic()
        # This runs for nearly every event, so it avoids calls of max and min.
        if now - self._polled > self._longest:
            self._longest = now - self._polled
        seconds = self._wakes - now
        if not 0.0 <= seconds <= LONGEST_SLEEP:
            seconds = 0.0 if seconds < 0.0 else LONGEST_SLEEP
        if self.poller is None:
            self._poll_hangups(seconds)
        else:
            self.poller.poll(seconds)
            self._polled = self.poller.now
            self.poller.dispatch()

    def _call_due(self, until: float) -> None:
        """Call the due timers until the time slice is over. The rest follow in the next iteration."""
        self._register_watches()
        while due := self._next_due():
            self._call(*due)
            if time.monotonic() >= until:
                break

    def _next_due(self) -> tuple[Registration, Callable[[], None]] | None:
        now = time.monotonic()
        with self._lock:
            while self._heap and (self._heap[0][2].call is None or self._heap[0][0] <= now):
                registration = heappop(self._heap)[2]
                if registration.call is not None:
                    if self.poller is not None:
                        self.poller.now = now
                    return registration, self._begin(registration)
            self._wakes = min(
                queue[0][0] if queue else math.inf for queue in (self._heap, self._unregistered)
            )
            return None

    def _poll_hangups(self, seconds: float) -> None:
        suspects = self._hangups.wait(seconds)
        if self.poller is None:
            self._polled = time.monotonic()
        for fd in suspects:
            self._check_hangup(fd)

    def _check_hangup(self, fd: int) -> None:
        """Call the watch's callback if its peer has hung up.

        Another socket may have reused the descriptor's number, so poll it again here. The check of the
        registration comes after that: while the registration is alive, its socket is open."""
        with self._lock:
            registration = self._watches.get(fd)
        if registration is None or not is_gone(fd):
            return
        with self._lock:
            if registration.call is None:
                return
            call = self._begin(registration)
        self._hangups.remove(fd)
        self._call(registration, call)

    def _begin(self, registration: Registration) -> Callable[[], None]:
        call = registration.call
        assert call is not None
        self._calling = registration
        if not registration.period:
            self._end(registration)
        return call

    def _call(self, registration: Registration, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception:  # the other callbacks must run
            log.exception("a callback of the reactor failed")
        with self._lock:
            self._calling = None
            if registration.call is not None:
                self._push(time.monotonic() + registration.period, registration)
            self._called.notify_all()
