"""Calls a function periodically on a thread of its own. Unlike the reactor's callbacks it may block."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress

log = logging.getLogger(__name__)


class Periodic:
    """A background thread that calls ``work`` after every period. An exception is logged, and the next call
    follows.

    A forked process has none of its parent's threads: it makes an instance of its own.

    :param name: the thread's name. :param period: from the end of a call to the next one, seconds.
    """

    def __init__(self, name: str, period: float, work: Callable[[], None]) -> None:
        self.name = name
        self._period = period
        self._work = work
        self._starting = threading.Lock()
        self._due = threading.Event()
        self._thread: threading.Thread | None = None
        self._stopped = False
        self.running = False

    def start(self) -> None:
        """Start the thread if it does not run. If the system has none left, the next call tries again."""
        if self.running:
            return
        with self._starting:
            if not self.running:
                with suppress(RuntimeError, MemoryError):
                    thread = threading.Thread(target=self._run, name=self.name, daemon=True)
                    thread.start()
                    self._thread, self.running = thread, True

    def call_soon(self) -> None:
        """Make the next call due at once. A call that runs already is followed by another."""
        self._due.set()

    def stop(self, seconds: float = 5.0) -> None:
        """End the thread for good, after the call that runs now.

        :param seconds: how long to wait for that call.
        """
        self._stopped = True
        self._due.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(seconds)

    def _run(self) -> None:
        while True:
            self._due.wait(self._period)
            if self._stopped:
                return
            self._due.clear()
            try:
                self._work()
            except Exception:  # the thread must make the next call
                log.exception("a call of the thread '%s' failed; the next one follows", self.name)
