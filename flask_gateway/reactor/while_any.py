"""Runs work at a period on a thread, for as long as there is any, and once more when the process exits."""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Callable
from weakref import WeakSet

log = logging.getLogger(__name__)

#: Without work for so many rounds, the thread ends.
IDLE_ROUNDS = 8


class WhileAny:
    """A thread that starts when there is work, and ends when there has been none for a while.

    :param period: seconds. :param work: returns whether there was any, or more will come.
    :param at_exit: the work of a process that exits, in which no thread goes on. The default is ``work``.
    """

    def __init__(
        self, name: str, period: float, work: Callable[[], bool], at_exit: Callable[[], object] | None = None
    ) -> None:
        self.name = name
        self._period = period
        self._work = work
        self.at_exit = at_exit or work
        self._lock = threading.Lock()
        self._running = False
        self._asked = False

    def start(self) -> None:
        """Note that there is work. Where the system has no thread left, it is done now."""
        if _exits.is_set():
            self.at_exit()
            return
        with self._lock:
            self._asked = True
            if self._running:
                return
            self._running = True
        _started.add(self)
        try:
            threading.Thread(target=self._run, name=self.name, daemon=True).start()
        except (RuntimeError, MemoryError):  # the system has no thread left
            self._running = False
            self._work()

    def _run(self) -> None:
        idle = 0
        while idle < IDLE_ROUNDS or not self._ended():
            time.sleep(self._period)
            self._asked = False
            idle = 0 if self._worked() else idle + 1

    def _worked(self) -> bool:
        try:
            return self._work()
        except Exception:  # the thread must do the work that comes later
            log.exception("a round of the thread '%s' failed", self.name)
            return False

    def _ended(self) -> bool:
        """Whether the thread may end. Work that comes later starts another one."""
        with self._lock:
            self._running = self._asked
        return not self._running


#: The process exits.
_exits = threading.Event()
#: All instances that have had work.
_started: WeakSet[WhileAny] = WeakSet()


@atexit.register
def finish() -> None:
    """Do the last work of all instances. Work that comes later is done at once."""
    _exits.set()
    for one in list(_started):
        try:
            one.at_exit()
        except Exception:  # the others have work, too
            log.exception("the last work of the thread '%s' failed", one.name)
