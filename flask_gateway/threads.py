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


class Threads:
    """Up to so many, each made when none of those before it is idle. Work beyond that waits its turn.

    Work is given by one thread, and done by any.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._started = 0
        self._work: SimpleQueue[Work | None] = SimpleQueue()
        #: One entry for each thread that is idle and has no work coming. To append and to pop is atomic.
        self._idle: deque[None] = deque()

    def submit(self, do: Callable[..., Any], *args: Any) -> None:
        self._work.put((do, args))
        try:
            self._idle.pop()
        except IndexError:
            if self._started < self._most:
                self._started += 1
                threading.Thread(target=self._run, name=f"serving-{self._started}").start()

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            do, args = work
            try:
                do(*args)
            except BaseException:  # whatever it is, the thread is another request's next
                log.exception("a request failed in the server")
            del work, do, args  # an idle thread is to keep nothing of a request
            self._idle.append(None)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let each end when it has done what is waiting. Nothing is submitted any more; nobody is waited
        for, whatever is asked (the parameters are the standard library's)."""
        for _ in range(self._started):
            self._work.put(None)
