"""Defines the protocol of a store: state that threads, workers or machines share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from hashlib import blake2b
from typing import Protocol, TypeVar

Answer = TypeVar("Answer")


#: A store's clock ticks in microseconds; so many make a second.
SECOND = 1_000_000


@lru_cache(maxsize=4096)
def state_key(kind: str, name: str) -> str:
    """The key of some kind of state. A long name is known by its digest: a store's keys are short."""
    if len(name.encode()) <= 80:
        return f"{kind}:{name}"
    return f"{kind}:{blake2b(name.encode(), digest_size=16).hexdigest()}"


#: What a store keeps under a key: a short tuple of 64-bit integers. Times are microseconds of the
#: store's own clock, exact in Python, in shared memory and in Redis's doubles alike.
Value = tuple[int, ...]


#: A pure function ``(old, now) -> (new, answer)``. It may run more than once. ``old`` is ``None``
#: when there is nothing or it has expired; ``new is old`` means nothing needs writing; ``new`` of
#: ``None`` forgets the key.
Change = Callable[[Value | None, int], tuple[Value | None, Answer]]


class Store(Protocol):
    """State shared by all threads, by all workers, or by all machines, depending on which store."""

    def now(self) -> int:
        """Microseconds of a clock that never steps and that all sharers of the store see alike."""
        ...

    def read(self, key: str) -> Value | None: ...

    def update(self, key: str, change: Change[Answer], ttl: float) -> Answer:
        """Apply ``change`` atomically, and forget the key ``ttl`` seconds after this write."""
        ...

    def scan(self, prefix: str) -> Iterator[tuple[str, Value]]:
        """All live keys that begin with ``prefix``, in no order; for status pages, not for requests."""
        ...

    def close(self) -> None: ...
