"""Runs work at a period on a thread, for as long as there is any."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

#: Without work for so many rounds, the thread ends.
IDLE_ROUNDS = 8


class WhileAny:
    """A thread that starts when there is work, and ends when there has been none for a while.

    :param period: seconds. :param work: returns whether there was any, or more will come.
    """

    def __init__(self, name: str, period: float, work: Callable[[], bool]) -> None:
        self._name = name
        self._period = period
        self._work = work
        self._lock = threading.Lock()
        self._running = False
        self._asked = False

    def start(self) -> None:
        """Note that there is work. Where the system has no thread left, it is done now."""
        with self._lock:
            self._asked = True
            if self._running:
                return
            self._running = True
        try:
            threading.Thread(target=self._run, name=self._name, daemon=True).start()
        except (RuntimeError, MemoryError):  # the system has no thread left
            self._running = False
            self._work()

    def _run(self) -> None:
        idle = 0
        while idle < IDLE_ROUNDS or not self._ended():
            time.sleep(self._period)
            self._asked = False
            idle = 0 if self._work() else idle + 1

    def _ended(self) -> bool:
        """Whether the thread may end. Work that comes later starts another one."""
        with self._lock:
            self._running = self._asked
        return not self._running
