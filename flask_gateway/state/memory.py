"""Keeps the state of one process in dictionaries. Keys are striped, and each stripe has a lock."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TypeVar

from cachetools import TLRUCache

from .contract import Clock, encode, lifetime, monotonic, name_of
from .store import Change, StoreStatus, Value

Answer = TypeVar("Answer")

STRIPES = 16

#: A value and the microsecond at which it expires.
Kept = tuple[Value, int]


def _expiry(key: str, kept: Kept, now: int) -> int:
    return kept[1]


class _Stripe:
    """A part of the keys with their lock. The lock outlives the keys."""

    __slots__ = ("kept", "lock")

    def __init__(self, clock: Clock, max_keys: int) -> None:
        self.lock = threading.Lock()
        self.kept: TLRUCache[str, Kept, int] = TLRUCache(max_keys, _expiry, clock)


class MemoryStore:
    """State of this process only. All its threads share it; each key is guarded by its stripe's lock.

    :param clock: microseconds; it must not go backwards.
    :param max_keys: above it, expired keys are evicted first, then the least recently used.
    """

    def __init__(self, clock: Clock = monotonic, max_keys: int = 10_000) -> None:
        self._clock = clock
        count = min(STRIPES, max_keys)
        self._stripes = tuple(_Stripe(clock, max_keys // count) for _ in range(count))

    def _stripe(self, key: str) -> _Stripe:
        return self._stripes[hash(key) % len(self._stripes)]

    def now(self) -> int:
        return self._clock()

    def read(self, key: str) -> Value | None:
        name_of(key)
        stripe = self._stripe(key)
        with stripe.lock:
            kept = stripe.kept.get(key)
        return None if kept is None else kept[0]

    def watch(self, *keys: str, lax: bool = False) -> None:
        """Do nothing: reads are quick."""

    def update(self, key: str, change: Change[Answer], ttl: float) -> Answer:
        """:raises ValueError: the key or the new value is out of bounds. Nothing is written."""
        name_of(key)
        stripe = self._stripe(key)
        # The cache's timer is frozen inside its own ``with``: ``change`` and expiry see the same time.
        with stripe.lock, stripe.kept.timer as now:
            kept = stripe.kept.get(key)
            old = None if kept is None else kept[0]
            new, answer = change(old, now)
            if new is None:
                stripe.kept.pop(key, None)
            elif new is not old:
                encode(new)  # only to refuse values that the other stores could not keep
                stripe.kept[key] = (new, now + lifetime(ttl))
        return answer

    def scan(self, prefix: str) -> Iterator[tuple[str, Value]]:
        for stripe in self._stripes:
            with stripe.lock, stripe.kept.timer:
                live = [(key, kept[0]) for key, kept in stripe.kept.items() if key.startswith(prefix)]
            yield from live

    def status(self) -> StoreStatus:
        """Always well: memory of the process does not fail."""
        return StoreStatus()

    def close(self) -> None:
        """Do nothing: there is nothing to release."""
