"""Keeps callers' connections between two requests: they hold no thread, and no place of another caller.

The reactor's epoll set reports a connection once, when its caller's next bytes or its end arrive. Any thread
may keep a connection. The dictionary says who owns it: only the thread that takes it out may use or close it.

A close by the server may cross the caller's next request, which is then lost (RFC 9112, 9.6). So where
possible ``Connection: close`` on an answer closes it. A stopping worker serves kept connections for
:data:`STOP_LINGER` more. A proxy in front must close its idle connections sooner than that
(``keepalive_timeout`` of nginx's ``upstream``).
"""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Callable

from ..reactor.fair_poller import FairPoller
from .client_connection import ClientConnection

#: The most kept connections of a worker. An answer beyond that closes its connection.
MOST_KEPT = 1024
#: How long a stopping worker keeps connections for a request that may be on its way, seconds.
STOP_LINGER = 2.0


def most_kept() -> int:
    """:data:`MOST_KEPT`, or a quarter of the descriptors that this process may have."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_KEPT if files == resource.RLIM_INFINITY else min(MOST_KEPT, max(1, files // 4))


class IdleQueue:
    """The kept connections of a worker by descriptor, the one that is idle for longest first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[int, tuple[ClientConnection, float]] = {}

    def __len__(self) -> int:
        return len(self._idle)

    def add(self, conn: ClientConnection, until: float, arm: Callable[[int], None]) -> None:
        """Keep the connection until then, seconds of ``time.monotonic()``.

        :param arm: called with its descriptor, under the lock. Without the lock another thread might close
            the connection first, and a new socket get the number, whose stream would then stand still.
        :raises OSError: of ``arm``. Then the connection is not kept.
        """
        fd = conn.sock.fileno()
        with self._lock:
            arm(fd)
            self._idle[fd] = conn, until

    def take(self, fd: int) -> ClientConnection | None:
        """Take the connection out; ``None`` if another thread has taken it."""
        with self._lock:
            return self._idle.pop(fd, (None, 0.0))[0]

    def take_late(self, now: float, spare: int = 0) -> list[ClientConnection]:
        """Take out the connections whose time is over.

        :param spare: how many of the others to take as well, those first that are idle for longest.
        """
        with self._lock:
            late = [fd for fd, (_, until) in self._idle.items() if until <= now]
            late += [fd for fd in self._idle if fd not in late][:spare] if spare else []
            return [self._idle.pop(fd)[0] for fd in late]

    def hurry(self, latest: float) -> None:
        """Keep no connection for longer than until then."""
        with self._lock:
            for fd, (conn, until) in self._idle.items():
                self._idle[fd] = conn, min(until, latest)


class KeptConnections:
    """The kept connections of a worker, and the epoll set that waits for their next requests.

    :param poller: of the reactor. :param seconds: how long a connection may be idle.
    :param arrived: called on the reactor's thread, with a connection that has bytes of its next request.
    :param gone: called with a connection to be closed, on any thread.
    """

    def __init__(
        self,
        poller: FairPoller,
        seconds: float,
        arrived: Callable[[ClientConnection], None],
        gone: Callable[[ClientConnection], None],
    ) -> None:
        self._poller = poller
        self._seconds = seconds
        self._arrived, self._gone = arrived, gone
        self._most = most_kept()
        self._queue = IdleQueue()
        self._stopping = False
        poller.armed = self._ready

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def has_room(self) -> bool:
        return len(self._queue) < self._most

    def keep(self, conn: ClientConnection) -> None:
        """Wait for the caller's next request, on any thread. The calling thread may not use it any more."""
        now = time.monotonic()
        try:
            self._queue.add(conn, now + self._seconds, self._poller.arm)
        except OSError:  # the kernel has no memory for it
            self._gone(conn)
            return
        if self._stopping:
            self._queue.hurry(now + STOP_LINGER)

    def _ready(self, fd: int) -> None:
        """Read what has arrived, on the reactor's thread."""
        conn = self._queue.take(fd)
        if conn is None:
            return
        try:
            whole = conn.collect_head()
        except OSError:
            self._gone(conn)
            return
        if conn.has_left:
            self._gone(conn)
        elif whole:
            self._arrived(conn)
        else:  # an event of an earlier socket of this number
            self.keep(conn)

    def close_late(self, now: float) -> None:
        """Close the connections whose time is over, and those that are too many."""
        for conn in self._queue.take_late(now, max(0, len(self._queue) - self._most)):
            self._gone(conn)

    def close_oldest(self) -> bool:
        """Close the connection that is idle for longest. Returns whether there was one."""
        oldest = self._queue.take_late(0.0, 1)
        for conn in oldest:
            self._gone(conn)
        return bool(oldest)

    def hurry(self, now: float) -> None:
        """Keep no connection longer than :data:`STOP_LINGER` from now on, because the worker stops."""
        self._stopping = True
        self._queue.hurry(now + STOP_LINGER)
