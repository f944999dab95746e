"""Keeps connections whose request head has not arrived whole: they need no thread.

Without this, a few dozen callers without a key could hold all threads by half of a head.
"""

from __future__ import annotations

import resource

from .client_connection import CALLER_TIMEOUT, ClientConnection

#: The most connections with an incomplete head in a worker: 64 MiB of heads. One more cuts the oldest.
MAX_PARKED = 1024
#: How long a stopping worker waits for the rest of a head, seconds.
STOP_LINGER = 2.0


def most_parked() -> int:
    """:data:`MAX_PARKED`, or a quarter of the descriptors that this process may have."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_PARKED if files == resource.RLIM_INFINITY else min(MAX_PARKED, max(1, files // 4))


class ParkedHeads:
    """The parked connections of a worker, the oldest first. Only its main thread calls it.

    :param most: one more cuts the oldest.
    """

    def __init__(self, most: int = MAX_PARKED) -> None:
        self._most = most
        self._until: dict[ClientConnection, float] = {}

    def __len__(self) -> int:
        return len(self._until)

    def add(self, conn: ClientConnection, now: float) -> None:
        """Keep the connection for :data:`.CALLER_TIMEOUT` from now on."""
        self._until[conn] = now + CALLER_TIMEOUT

    def remove(self, conn: ClientConnection) -> None:
        self._until.pop(conn, None)

    def late(self, now: float) -> list[ClientConnection]:
        """The connections whose time is over, and the oldest of those that are too many."""
        late = []
        for place, (conn, until) in enumerate(self._until.items()):
            if until > now and len(self._until) - place <= self._most:
                break
            late.append(conn)
        return late

    def oldest(self) -> ClientConnection | None:
        """The connection that has been kept for longest."""
        return next(iter(self._until), None)

    def hurry(self, now: float) -> None:
        """Wait for no head longer than :data:`STOP_LINGER` from now on."""
        for conn, until in self._until.items():
            self._until[conn] = min(until, now + STOP_LINGER)
