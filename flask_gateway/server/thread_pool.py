"""Runs requests on a pool of threads, last in, first out.

It has the part of ``ThreadPoolExecutor``'s interface that gunicorn's worker uses. ``ThreadPoolExecutor``
creates a Future with a lock and a condition for each task, which gunicorn's worker would never use.
"""

from __future__ import annotations

import _thread
import logging
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, NamedTuple

log = logging.getLogger(__name__)

Work = tuple[Callable[..., Any], tuple[Any, ...]]

#: The queue of one thread. ``None`` ends the thread.
Inbox = SimpleQueue[Work | None]


class ThreadPoolStatus(NamedTuple):
    """The threads that a pool has started, and those of them that are idle."""

    started: int
    idle: int


class LifoThreadPool:
    """Starts a thread only when no other is idle, up to a maximum. Work beyond that waits in order.

    Idle threads are reused last in, first out, so a warm stack is used again and surplus threads stay asleep.

    The lock is held for a moment only. It is reentrant, because a signal handler may call :meth:`shutdown`
    while the same thread is in :meth:`submit`.

    :param most: the maximum number of threads.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._started = 0
        self._lock = threading.RLock()
        self._waiting: deque[Work] = deque()
        #: The queues of idle threads, the most recently used last.
        self._idle: list[Inbox] = []
        self._over = False

    def status(self) -> ThreadPoolStatus:
        """How many threads there are, and how many are idle, at this moment."""
        return ThreadPoolStatus(self._started, len(self._idle))

    def submit(self, do: Callable[..., Any], *args: Any) -> None:
        """:raises RuntimeError: the system refuses even the first thread."""
        with self._lock:
            inbox = self._pop_idle() or self._start_thread()
            if inbox is None:
                self._waiting.append((do, args))
        if inbox is not None:
            inbox.put((do, args))

    def _pop_idle(self) -> Inbox | None:
        try:
            return self._idle.pop()
        except IndexError:  # also when a signal handler has just called shutdown()
            return None

    def _start_thread(self) -> Inbox | None:
        """Start another thread and return its queue, if the maximum allows one."""
        if self._started >= self._most:
            return None
        inbox: Inbox = SimpleQueue()
        try:
            # Thread.start() waits until the thread runs. In a burst of 40 large bodies that stopped the
            # accepting thread for 0.6 s in all. At its end the worker waits for connections, not for threads.
            _thread.start_new_thread(self._run, (inbox,))
        except RuntimeError:  # the system refuses another thread, so use those that run
            if not self._started:
                raise
            return None
        self._started += 1
        return inbox

    def _run(self, inbox: Inbox) -> None:
        while (work := inbox.get()) is not None:
            do, args = work
            try:
                do(*args)
            except BaseException:  # the thread must survive for the next request
                log.exception("a request failed in the server")
            del work, do, args  # an idle thread must not keep a request's objects alive
            self._next(inbox)

    def _next(self, inbox: Inbox) -> None:
        """Give the thread the next work, or end it after a shutdown, or make it idle."""
        with self._lock:
            if self._waiting:
                inbox.put(self._waiting.popleft())
            elif self._over:
                inbox.put(None)
            else:
                self._idle.append(inbox)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End each thread once the waiting work is done. The caller submits nothing afterwards.

        The parameters are the standard library's and ignored: this method never blocks.
        """
        with self._lock:
            self._over = True
            idle, self._idle = self._idle, []
        for inbox in idle:
            inbox.put(None)
