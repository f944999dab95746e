"""Identifies the processes that hold leases, and detects when they have ended.

A lease lives exactly as long as its process. A pid and a start time identify a process, so a later process
with the same pid is a different one. The kernel says whether a process lives (proc_pid_stat(5)). A stopped or
starved process lives. A killed process does not, even before its parent has waited for it.
"""

from __future__ import annotations

import os
from typing import NamedTuple

#: Bits of a pid on Linux (``PID_MAX_LIMIT``), and kept bits of the start time: 124 days of ticks. A double
#: holds the 52 bits of both exactly.
_PID, _START = 22, 30


class Stat(NamedTuple):
    """The used fields of ``/proc/PID/stat``. ``start``: in clock ticks since boot."""

    state: str
    start: int


class Processes:
    """Numbers processes and detects which have ended. Keeps no state.

    :param folder: the mount point of proc.
    """

    #: The expiry of a lease in the store, seconds, if no process checks its holder.
    lease = 86_400.0

    def __init__(self, folder: str = "/proc") -> None:
        self._folder = folder

    @property
    def possible(self) -> bool:
        """Whether proc is readable here."""
        return self._stat(os.getpid()) is not None

    def own(self) -> int:
        """The number of this process.

        :raises OSError: proc does not show its start time.
        """
        pid, stat = os.getpid(), self._stat(os.getpid())
        if stat is None:
            raise OSError(f"{self._folder} does not show this process")
        return _number(pid, stat.start)

    def ended(self, number: int) -> bool:
        """Whether the process with that number has certainly ended. In doubt: no."""
        pid = number & (1 << _PID) - 1
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        except OSError:  # the process belongs to another user
            pass
        stat = self._stat(pid)
        return stat is not None and (stat.state in "ZXx" or _number(pid, stat.start) != number)

    def _stat(self, pid: int) -> Stat | None:
        try:
            with open(f"{self._folder}/{pid}/stat", "rb", buffering=0) as file:
                # The name, in parentheses, may contain any character.
                fields = file.read(4096).rpartition(b") ")[2].split()
            return Stat(fields[0].decode(), int(fields[19]))
        except (OSError, ValueError, IndexError):
            return None


def _number(pid: int, start: int) -> int:
    return (start & (1 << _START) - 1) << _PID | pid
