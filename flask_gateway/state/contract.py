"""Defines the errors and the clock of all stores, and the bounds of keys, values and lifetimes.

This module holds no state. Every store refuses the same keys and values. A change that works in memory
therefore also works in Redis.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from functools import cache, lru_cache
from math import ceil

from .store import Value

#: The longest value, integers: a window of 256 timestamps and its counters.
MAX_INTS = 300

#: The longest key, bytes of UTF-8: the space for it in a slot of the shared memory.
MAX_KEY = 120

#: Microseconds of a clock that never steps.
Clock = Callable[[], int]


class StoreError(Exception):
    """The store cannot serve this call. The request is not at fault: serve it from local state."""


class StoreBusy(StoreError):
    """This key cannot be updated now: others keep changing it, or hold its mutex. Nothing was written."""


class StoreFull(StoreError):
    """The store has no space for another key. Nothing was written."""


def monotonic() -> int:
    """Microseconds of the machine's monotonic clock, the same for all its processes."""
    return time.monotonic_ns() // 1000


def name_of(key: str) -> bytes:
    """The key as stored bytes.

    :raises ValueError: the key is empty or longer than :data:`MAX_KEY`.
    """
    name = key.encode()
    if not 0 < len(name) <= MAX_KEY:
        raise ValueError(f"a key has 1 to {MAX_KEY} bytes of UTF-8, this one has {len(name)}")
    return name


@lru_cache(maxsize=256)
def lifetime(ttl: float) -> int:
    """``ttl`` seconds in microseconds, rounded up to a whole millisecond, the resolution of Redis."""
    return max(1, ceil(ttl * 1000)) * 1000


@cache  # bounded: a count above MAX_INTS is refused
def layout(count: int) -> struct.Struct:
    """The memory layout of ``count`` integers: little-endian, 64 bits each, signed."""
    if count > MAX_INTS:
        raise ValueError(f"a value has at most {MAX_INTS} integers, this one has {count}")
    return struct.Struct(f"<{count}q")


def encode(value: Value) -> bytes:
    """:raises ValueError: the value is too long, or has more than 64-bit integers in it."""
    try:
        return layout(len(value)).pack(*value)
    except struct.error as error:
        raise ValueError(f"a value is a tuple of 64-bit integers: {error}") from None


def decode(data: bytes) -> Value | None:
    """The value that :func:`encode` wrote; ``None`` if the data has an impossible length."""
    count, rest = divmod(len(data), 8)
    return None if rest or count > MAX_INTS else layout(count).unpack(data)
