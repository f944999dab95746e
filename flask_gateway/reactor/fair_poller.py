"""Polls many descriptors on one thread and serves the ready ones fairly, one time slice at a time."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from .socket_io import modify_at_once

#: How long ready descriptors are served before the thread looks at its timers again, seconds.
TIME_SLICE = 0.005
#: The most ready descriptors that one poll returns.
MAX_EVENTS = 256

#: Armed descriptors are reported once: readable, or the peer has hung up.
_ONCE = getattr(select, "EPOLLIN", 0) | getattr(select, "EPOLLRDHUP", 0) | getattr(select, "EPOLLONESHOT", 0)

Ready = Callable[[int], None]


class Poller(Protocol):
    """The part of ``select.epoll`` that is used. epoll reports ready descriptors in round-robin order."""

    def register(self, fd: int, events: int) -> None: ...

    def modify(self, fd: int, events: int) -> None: ...

    def unregister(self, fd: int) -> None: ...

    def poll(self, timeout: float, maxevents: int) -> list[tuple[int, int]]: ...

    def fileno(self) -> int: ...


class FairPoller:
    """Owned by one thread.

    It polls again only after every ready descriptor has been served. A ready descriptor therefore waits for
    at most two rounds.

    :param poll: an epoll set without members. :param clock: returns seconds.
    """

    def __init__(self, poll: Poller, clock: Callable[[], float] = time.monotonic) -> None:
        self._poll = poll
        self._clock = clock
        self._ready: dict[int, Ready] = {}
        #: Ready descriptors not yet served, last first, with their events.
        self._due: dict[int, int] = {}
        #: When the last poll returned, or when the current callback began, seconds. The owning thread may set
        #: it when it starts other work.
        self.now = clock()
        #: Called with a ready descriptor that is not registered here: one that was armed.
        self.armed: Ready | None = None

    def __len__(self) -> int:
        """Return how many descriptors are registered."""
        return len(self._ready)

    def wait_for(self, fd: int, events: int, ready: Ready) -> None:
        """Register the descriptor: ``ready`` is called with its events, one of these or an error."""
        if fd in self._ready:
            self._poll.modify(fd, events)
        else:
            try:
                self._poll.register(fd, events)
            except FileExistsError:  # it was armed before
                self._poll.modify(fd, events)
        self._due.pop(fd, None)  # its pending event may not be one of the new events
        self._ready[fd] = ready

    def arm(self, fd: int) -> None:
        """Report an unregistered descriptor to :attr:`armed` once, as soon as it is readable or its peer has
        hung up. Any thread may call this. To close the descriptor disarms it.

        :raises OSError: the kernel has no memory for it."""
        if modify_at_once(self._poll.fileno(), fd, _ONCE):
            return
        try:
            self._poll.register(fd, _ONCE)  # it was not armed before
        except FileExistsError:
            self._poll.modify(fd, _ONCE)

    def forget(self, fd: int) -> None:
        """Unregister the descriptor. Call this before closing it: the kernel may soon reuse its number."""
        if self._ready.pop(fd, None) is not None:
            self._due.pop(fd, None)
            with suppress(OSError, ValueError):  # already closed, so epoll has dropped it
                self._poll.unregister(fd)

    def poll(self, seconds: float) -> None:
        """Poll for ready descriptors, for at most so many seconds, unless some are not yet served."""
        if not self._due:
            self._due = dict(reversed(self._poll.poll(seconds, MAX_EVENTS)))
        self.now = self._clock()

    def dispatch(self) -> None:
        """Serve ready descriptors, at least one, until the time slice is over."""
        until, due = self.now + TIME_SLICE, self._due
        while due:
            fd, events = due.popitem()
            ready = self._ready.get(fd)
            if ready is not None:
                ready(events)
            # Armed; or closed without `forget()`, and a dup keeps the epoll entry alive.
            elif self.armed is not None:
                self.armed(fd)
            self.now = self._clock()
            if self.now >= until:
                return
