"""When a worker whose threads are all held takes the next connection (pure; time is an argument).

A connection that is not taken waits in the kernel, where another worker may have a thread for it. One that
is taken by a full worker is refused. So a full worker waits a moment for the others, and then refuses at
once: nobody is to wait behind other people's long calls. But a crowd of streams that have only to begin
moves on by itself, for each holds its thread only until its first token; that is waited for, as long as
it does move.
"""

from __future__ import annotations

from typing import NamedTuple

#: How long the other workers are given to take a connection, seconds.
SHY = 0.02
#: How long connections are taken, or refused, before the others are given a chance again, seconds.
OPEN = 0.02
#: A crowd that has not moved for so long is a jam, and one that has moved for so long will not end, seconds.
JAM, LONGEST = 1.0, 4.0
#: How often a crowd is looked at again, seconds.
STEP = 0.005


class Crowd(NamedTuple):
    """The threads of a worker at a moment.

    :param held: by calls; :param most: of so many that calls may hold.
    :param starting: those of them that are held by streams, which will let go of them soon.
    :param moved: when a thread was last let go, seconds.
    """

    held: int
    most: float
    starting: int
    moved: float


class Gate:
    """Decides for one worker. Asked by its main thread alone, when a connection is waiting."""

    def __init__(self) -> None:
        self._full_since: float | None = None
        self._open_until = 0.0

    def hold_back(self, crowd: Crowd, now: float) -> float:
        """For how many seconds the connection is to be left in the kernel; 0: take it."""
        if crowd.held < crowd.most:
            self._full_since = None
            return 0.0
        if now < self._open_until:
            return 0.0
        if self._full_since is None:
            self._full_since = now
        full_for = now - self._full_since
        if full_for < SHY:
            return SHY - full_for
        crowded_by_streams = crowd.starting >= crowd.most / 2
        if crowded_by_streams and now - crowd.moved < JAM and full_for < LONGEST:
            return STEP
        self._open_until = now + OPEN
        self._full_since = None
        return 0.0
