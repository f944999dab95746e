"""Bounds the memory that the request bodies of a process take together.

A body counts from the moment its bytes arrive until its call is over, for so long it is kept. What a caller
has announced and not sent takes no memory and is not counted. Small bodies are neither counted nor refused:
the threads and streams of a process bound their number.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

from ..model.errors import Overloaded

#: Bodies up to this size, bytes, are not counted.
SMALL = 64 * 1024
#: The most of the memory that one caller is given where there are several.
SHARE = 0.75
#: When to ask again, seconds: nobody knows when a call will end.
RETRY_AFTER = 1.0


class BodyMemory:
    """The bytes of all bodies of a process. Shared by its threads, guarded by its lock.

    :param shed: told the reason of each refusal.
    """

    def __init__(self, shed: Callable[[str], None] = lambda reason: None) -> None:
        self._shed = shed
        self._lock = threading.Lock()
        self._used = 0
        self._by_caller: dict[str, int] = {}
        self._limit: float = math.inf
        self._share: float = math.inf

    def change(self, limit: int, largest: int, callers: int) -> None:
        """Set other bounds. What is held already counts, and stays.

        :param limit: bytes in all; one body of the largest size fits even if this is less.
        :param largest: bytes that one body may have. :param callers: how many there are.
        """
        self._limit = max(limit, largest)
        self._share = max(self._limit * SHARE, largest) if callers > 1 else self._limit

    @property
    def used(self) -> int:
        """Bytes held now."""
        return self._used

    def lease(self, caller: str) -> BodyLease:
        """What one body of a caller holds: nothing yet."""
        return BodyLease(self, caller)

    def grow(self, caller: str, by: int) -> None:
        """:raises Overloaded: there is no room for so many bytes more."""
        with self._lock:
            mine = self._by_caller.get(caller, 0) + by
            refused = "bodies" if self._used + by > self._limit else "share" if mine > self._share else ""
            if not refused:
                self._used += by
                self._by_caller[caller] = mine
        if refused:
            self._shed("bodies")
            raise Overloaded(_TOLD[refused], retry_after=RETRY_AFTER)

    def shrink(self, caller: str, by: int) -> None:
        with self._lock:
            self._used -= by
            left = self._by_caller[caller] - by
            if left:
                self._by_caller[caller] = left
            else:
                del self._by_caller[caller]


_TOLD = {
    "bodies": "This server has as many bytes of requests in memory as it may. Try again in a moment.",
    "share": "The requests of this key take as much memory here as one key is given. "
    "Wait until one of them is answered, and send this one again.",
}


class BodyLease:
    """The memory that one body holds. Used by the thread that reads it, released by any."""

    __slots__ = ("_caller", "_held", "_memory")

    def __init__(self, memory: BodyMemory, caller: str) -> None:
        self._memory = memory
        self._caller = caller
        self._held = 0

    def hold(self, size: int) -> None:
        """The body has so many bytes by now; none: it is given up.

        :raises Overloaded: there is no room for them. What was held before is held still.
        """
        if size > SMALL and size > self._held:
            self._memory.grow(self._caller, size - self._held)
            self._held = size
        elif not size:
            self.release()

    def release(self) -> None:
        """The body is kept no longer."""
        held, self._held = self._held, 0
        if held:
            self._memory.shrink(self._caller, held)
