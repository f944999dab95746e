"""Processes of this machine as holders of leases: a lease lives exactly as long as its process.

A process is known by its pid and its start time, so a later process with the same pid is another one. The
kernel says whether it lives (proc_pid_stat(5)). A process that is stopped or starved lives. A process that
was killed does not, even before its parent has waited for it.
"""

from __future__ import annotations

import os
from typing import NamedTuple

#: Bits of a pid on Linux (``PID_MAX_LIMIT``), and of the start time that are kept: 124 days of ticks.
#: Together 52, which a double holds exactly.
_PID, _START = 22, 30


class Stat(NamedTuple):
    """The parts of ``/proc/PID/stat`` that matter here. ``start``: in clock ticks since the boot."""

    state: str
    start: int


class Processes:
    """Tells processes apart, and which of them have ended. Has no state of its own.

    :param folder: where proc is mounted.
    """

    #: How long the store keeps a lease whose process nobody has looked at, seconds.
    lease = 86_400.0

    def __init__(self, folder: str = "/proc") -> None:
        self._folder = folder

    @property
    def possible(self) -> bool:
        """Whether the kernel tells here."""
        return self._stat(os.getpid()) is not None

    def own(self) -> int:
        """The number of this process.

        :raises OSError: the kernel does not tell its start time.
        """
        pid, stat = os.getpid(), self._stat(os.getpid())
        if stat is None:
            raise OSError(f"{self._folder} does not show this process")
        return _number(pid, stat.start)

    def ended(self, number: int) -> bool:
        """Whether the process with that number is known to have ended. In doubt it has not."""
        pid = number & (1 << _PID) - 1
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        except OSError:  # it is another user's
            pass
        stat = self._stat(pid)
        return stat is not None and (stat.state in "ZXx" or _number(pid, stat.start) != number)

    def _stat(self, pid: int) -> Stat | None:
        try:
            with open(f"{self._folder}/{pid}/stat", "rb", buffering=0) as file:
                # The name, in parentheses, may have anything in it.
                fields = file.read(4096).rpartition(b") ")[2].split()
            return Stat(fields[0].decode(), int(fields[19]))
        except (OSError, ValueError, IndexError):
            return None


def _number(pid: int, start: int) -> int:
    return (start & (1 << _START) - 1) << _PID | pid
