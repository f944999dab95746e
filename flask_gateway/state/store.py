"""Defines the protocol of a store: state that threads, workers or machines share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple, Protocol, TypeVar

Answer = TypeVar("Answer")


#: Microseconds in a second. A store's clock counts microseconds.
SECOND = 1_000_000


@lru_cache(maxsize=4096)
def state_key(kind: str, name: str) -> str:
    """The key of a kind of state. A long name is replaced by its digest, because keys are short."""
    if len(name.encode()) <= 80:
        return f"{kind}:{name}"
    return f"{kind}:{blake2b(name.encode(), digest_size=16).hexdigest()}"


#: A stored value: a short tuple of 64-bit integers. Times are microseconds of the store's own clock. They
#: are exact in Python, in shared memory and in Redis's doubles.
Value = tuple[int, ...]


#: A pure function ``(old, now) -> (new, answer)``. It may run more than once. ``old`` is ``None`` when the
#: key is missing or expired. If ``new is old``, nothing is written. ``new`` of ``None`` deletes the key.
Change = Callable[[Value | None, int], tuple[Value | None, Answer]]


class StoreStatus(NamedTuple):
    """The health of a store.

    :param degraded: another store answers for it.
    :param reason: of the latest error, also when it is over; empty if there was none.
    :param local_calls: how many calls the other store has answered since the start.
    """

    degraded: bool = False
    reason: str = ""
    local_calls: int = 0


class Store(Protocol):
    """State that all threads, all workers or all machines share, depending on the store."""

    def now(self) -> int:
        """Microseconds of a clock that never steps. All users of the store see the same clock."""
        ...

    def read(self, key: str) -> Value | None: ...

    def watch(self, *keys: str, lax: bool = False) -> None:
        """Note that calls are going to read keys often. A store whose reads take long keeps them in memory.

        :param lax: a read may hide this process's own updates as long as those of others.
        """
        ...

    def update(self, key: str, change: Change[Answer], ttl: float) -> Answer:
        """Apply ``change`` atomically. The key expires ``ttl`` seconds after this write."""
        ...

    def scan(self, prefix: str) -> Iterator[tuple[str, Value]]:
        """Yield all live keys that begin with ``prefix``, unordered. Slow: for status pages only."""
        ...

    def status(self) -> StoreStatus:
        """Describe the store's health. It waits for no I/O. A store without a substitute is well."""
        ...

    def close(self) -> None: ...
