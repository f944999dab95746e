"""When a worker whose threads are all held takes the next connection (pure; time is an argument).

A connection that is not taken waits in the kernel, where another worker may have a thread for it. One that
is taken by a full worker is refused. So a full worker first waits a moment for the others. Then it reckons
how long the last in the queue would wait, by the pace at which threads are let go: a burst of quick calls is
waited for, a queue behind other people's long ones is not, and the oldest of it is taken and refused until
the rest is short enough. Streams that have only to begin hold a thread until their first token, so a crowd
of them moves on by itself, and is given more time.
"""

from __future__ import annotations

from collections.abc import Callable

from ..guards.inflight import ThreadUsage

#: How long the other workers are given to take a connection, seconds.
SHY = 0.01
#: The longest wait that anybody is left to, seconds: behind calls, and behind streams that begin.
PATIENCE, PATIENCE_WITH_STREAMS = 0.08, 20.0
#: If no thread has been let go for so long, nobody knows when one will: by calls, and by streams that begin.
JAM, JAM_OF_STREAMS = 0.08, 1.0
#: How often a queue that is waited for is looked at again, seconds.
STEP = 0.004
#: The most that are taken in a row to be refused.
LARGEST_BATCH = 64


def expected_wait(crowd: ThreadUsage, queue: int, workers: int) -> float:
    """How long the last of the queue would wait for a thread, seconds.

    :param queue: connections that wait. :param workers: who share it, each at this one's pace.
    """
    return queue * crowd.pace / workers


class AcceptGate:
    """Decides for one worker. Asked by its main thread alone, when a connection is waiting."""

    def __init__(self, workers: int = 1) -> None:
        self._workers = workers
        self._full_since: float | None = None
        #: When the others have had their chance, how many are taken until they get the next one, and how
        #: many of these are left. They grow, lest a long queue is refused more slowly than it grows.
        self._chance_until = 0.0
        self._batch = self._left = 1

    def hold_back(self, crowd: ThreadUsage, queue: Callable[[], int], now: float) -> float:
        """For how many seconds the connection is to be left in the kernel; 0: take it.

        :param queue: tells how many connections wait; asked when that matters.
        """
        if not crowd.is_full:
            self._full_since = None
            return 0.0
        if self._full_since is None:
            self._full_since, self._chance_until = now, now + SHY
            self._batch = self._left = 1
        if now < self._chance_until:
            return self._chance_until - now
        streams = 2 * crowd.starting >= crowd.held
        patience, jam = (PATIENCE_WITH_STREAMS, JAM_OF_STREAMS) if streams else (PATIENCE, JAM)
        still_for = now - max(crowd.moved, self._full_since)
        if still_for <= jam and expected_wait(crowd, queue(), self._workers) <= patience:
            return STEP
        self._left -= 1
        if not self._left:
            self._chance_until = now + SHY
            self._batch = self._left = min(2 * self._batch, LARGEST_BATCH)
        return 0.0
