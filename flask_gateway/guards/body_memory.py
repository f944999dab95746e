"""Bounds the memory that the request bodies of a process use together.

A body counts from the moment its bytes arrive until its call ends, because it stays in memory for so long. A
body that is announced but not sent uses no memory and is not counted. Small bodies are neither counted nor
refused: the threads and streams of a process bound their number.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

from ..model.errors import RETRY_SOON, Overloaded

#: Bodies up to this size, bytes, are not counted.
SMALL = 64 * 1024
#: The largest part of the memory that one caller gets if there are several callers.
SHARE = 0.75


class BodyMemory:
    """The bytes of all bodies of a process. Shared by its threads, guarded by its lock.

    :param shed: called with the reason of each refusal, which is ``of``.
    :param of: ``bodies`` in memory, or ``uploads`` on disk.
    """

    def __init__(self, shed: Callable[[str], None] = lambda reason: None, *, of: str = "bodies") -> None:
        self._shed = shed
        self._of = of
        self._lock = threading.Lock()
        self._used = 0
        self._by_caller: dict[str, int] = {}
        self._limit: float = math.inf
        self._share: float = math.inf

    def change(self, limit: int, largest: int, callers: int) -> None:
        """Set other limits. Bodies in memory stay and keep counting.

        :param limit: bytes of all bodies; one body of the largest size fits even if this is less.
        :param largest: bytes of the largest body. :param callers: how many callers there are.
        """
        self._limit = max(limit, largest)
        self._share = max(self._limit * SHARE, largest) if callers > 1 else self._limit

    @property
    def used(self) -> int:
        """Bytes held now."""
        return self._used

    def lease(self, caller: str) -> BodyLease:
        """Return an empty lease for one body of a caller."""
        return BodyLease(self, caller)

    def grow(self, caller: str, by: int) -> None:
        """:raises Overloaded: so many more bytes exceed the limit, or the caller's share of it."""
        with self._lock:
            of_caller = self._by_caller.get(caller, 0) + by
            refused = "all" if self._used + by > self._limit else "share" if of_caller > self._share else ""
            if not refused:
                self._used += by
                self._by_caller[caller] = of_caller
        if refused:
            self._shed(self._of)
            raise Overloaded(_MESSAGES[self._of, refused], retry_after=RETRY_SOON)

    def shrink(self, caller: str, by: int) -> None:
        with self._lock:
            self._used -= by
            left = self._by_caller[caller] - by
            if left:
                self._by_caller[caller] = left
            else:
                del self._by_caller[caller]


_MESSAGES = {
    ("bodies", "all"): "This server's memory for request bodies is full. Try again in a moment.",
    ("bodies", "share"): "The requests of this key use all the memory that one key may use here. "
    "Wait until one of them is answered, and send this one again.",
    ("uploads", "all"): "This server's disk space for uploads is full. Try again in a moment.",
    ("uploads", "share"): "The uploads of this key use all the disk space that one key may use here. "
    "Wait until one of them is answered, and send this one again.",
}


class BodyLease:
    """The memory of one body. The thread that reads the body grows it; any thread may release it."""

    __slots__ = ("_caller", "_held", "_memory")

    def __init__(self, memory: BodyMemory, caller: str) -> None:
        self._memory = memory
        self._caller = caller
        self._held = 0

    def hold(self, size: int) -> None:
        """Count the body's current size; a size of 0 releases the lease.

        :raises Overloaded: the limit is reached. The bytes counted before stay counted.
        """
        if size > SMALL and size > self._held:
            self._memory.grow(self._caller, size - self._held)
            self._held = size
        elif not size:
            self.release()

    def release(self) -> None:
        """Stop counting the body."""
        held, self._held = self._held, 0
        if held:
            self._memory.shrink(self._caller, held)
