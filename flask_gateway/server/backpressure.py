"""Decides when a worker without a free thread accepts the next connection (pure; time is an argument).

A connection that is not accepted waits in the kernel, where another worker may have a thread for it. A full
worker refuses every connection it accepts. So it first waits a moment for the other workers.

Then it estimates how long the last connection of the queue would wait, from the pace at which threads become
free. If that is short, as behind a burst of quick calls, it leaves the queue alone. If that is long, it
accepts and refuses the oldest connections until the rest of the queue is short enough. A stream holds a
thread only until its first token, so a queue behind starting streams may wait longer.
"""

from __future__ import annotations

from collections.abc import Callable

from ..guards.inflight import ThreadUsage

#: How long a full worker leaves a connection to the other workers, seconds.
YIELD_TIME = 0.01
#: The longest acceptable wait in the queue, seconds: behind calls, and behind starting streams.
MAX_WAIT, MAX_WAIT_BEHIND_STREAMS = 0.08, 20.0
#: After so long without a free thread the pace predicts nothing, seconds: by calls, by starting streams.
STALL, STALL_OF_STREAMS = 0.08, 1.0
#: How often a worker that waits checks the queue again, seconds.
RECHECK_PERIOD = 0.004
#: The most connections that are accepted and refused in a row.
MAX_BATCH = 64


def expected_wait(threads: ThreadUsage, queue: int, workers: int) -> float:
    """Estimate how long the last connection of the queue waits for a thread, seconds.

    :param queue: the number of waiting connections.
    :param workers: the workers that share the queue, each assumed to have this one's pace.
    """
    return queue * threads.pace / workers


class AcceptGate:
    """Decides for one worker. Only the main thread calls it, when a connection is waiting."""

    def __init__(self, workers: int = 1) -> None:
        self._workers = workers
        self._full_since: float | None = None
        #: The end of the time left to other workers. After it a batch of connections is refused: its size,
        #: and how many are left of it. Batches grow, so that a worker refuses a long queue faster than it
        #: grows.
        self._yield_until = 0.0
        self._batch = self._left = 1

    def hold_back(self, threads: ThreadUsage, queue: Callable[[], int], now: float) -> float:
        """Return how many seconds to leave the connection in the kernel; 0 means accept it.

        :param queue: returns the number of waiting connections; called only when it matters.
        """
        if not threads.is_full:
            self._full_since = None
            return 0.0
        if self._full_since is None:
            self._full_since, self._yield_until = now, now + YIELD_TIME
            self._batch = self._left = 1
        if now < self._yield_until:
            return self._yield_until - now
        streams = 2 * threads.starting >= threads.held
        max_wait, stall = (MAX_WAIT_BEHIND_STREAMS, STALL_OF_STREAMS) if streams else (MAX_WAIT, STALL)
        still_for = now - max(threads.moved, self._full_since)
        if still_for <= stall and expected_wait(threads, queue(), self._workers) <= max_wait:
            return RECHECK_PERIOD
        self._left -= 1
        if not self._left:
            self._yield_until = now + YIELD_TIME
            self._batch = self._left = min(2 * self._batch, MAX_BATCH)
        return 0.0
