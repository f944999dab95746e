"""The threads that serve requests, as much of an executor as gunicorn's worker has a use for.

The standard library's makes a future with its lock and its condition of every piece of work, which nobody
here would look at.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

log = logging.getLogger(__name__)

Work = tuple[Callable[..., Any], tuple[Any, ...]]

#: Where one thread is given its work. ``None`` means that there will be no more.
Inbox = SimpleQueue[Work | None]


class LifoThreadPool:
    """Up to so many, each made when none of those before it is idle. Work beyond that waits its turn.

    The thread that was busy last is busy next, for the processor still has its stack at hand: of the many
    that one rush has left behind, a quiet hour uses few.

    Guarded by the lock, which is held for a moment only. It lets its holder in again: a signal may ask for
    the end while work is being given, on that very thread.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._started = 0
        self._lock = threading.RLock()
        self._waiting: deque[Work] = deque()
        #: Those that have no work coming. The one that was busy last stands last.
        self._idle: list[Inbox] = []
        self._over = False

    def submit(self, do: Callable[..., Any], *args: Any) -> None:
        """:raises RuntimeError: the system gives us not a single thread."""
        with self._lock:
            inbox = self._idle_one() or self._new()
            if inbox is None:
                self._waiting.append((do, args))
        if inbox is not None:
            inbox.put((do, args))

    def _idle_one(self) -> Inbox | None:
        try:
            return self._idle.pop()
        except IndexError:  # also when a signal has just asked for the end, and so emptied it
            return None

    def _new(self) -> Inbox | None:
        """One more thread's, if there may be one."""
        if self._started >= self._most:
            return None
        inbox: Inbox = SimpleQueue()
        name = f"serving-{self._started + 1}"
        try:
            threading.Thread(target=self._run, args=(inbox,), name=name).start()
        except RuntimeError:  # the system gives no more, so those that there are have to do
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
            except BaseException:  # whatever it is, the thread is another request's next
                log.exception("a request failed in the server")
            del work, do, args  # an idle thread is to keep nothing of a request
            self._next(inbox)

    def _next(self, inbox: Inbox) -> None:
        """Be given what waits, or be idle; or end, when it is all over."""
        with self._lock:
            if self._waiting:
                inbox.put(self._waiting.popleft())
            elif self._over:
                inbox.put(None)
            else:
                self._idle.append(inbox)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let each end when it has done what is waiting. Nothing is submitted any more; nobody is waited
        for, whatever is asked (the parameters are the standard library's)."""
        with self._lock:
            self._over = True
            idle, self._idle = self._idle, []
        for inbox in idle:
            inbox.put(None)
