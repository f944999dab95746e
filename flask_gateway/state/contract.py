"""What all stores agree on: their errors, their clock, and the bounds of keys, values and lifetimes.

No state lives here. Every backend refuses the same keys and values, so that what works on one
machine's memory also works on Redis.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from functools import cache
from math import ceil

from .store import Value

#: The longest value: a window of 256 stamps with room for its own book-keeping.
MAX_INTS = 300

#: The longest key, bytes of UTF-8: what a slot of the shared memory has room for.
MAX_KEY = 120

#: Microseconds of a clock that never steps.
Clock = Callable[[], int]


class StoreError(Exception):
    """The store cannot serve this call. Nobody's request is at fault: serve it from other state."""


class StoreBusy(StoreError):
    """Only this key, only now: others are at it, or their holder does not move. Nothing was written."""


class StoreFull(StoreError):
    """No room for one more key beside the live ones. Nothing was written."""


def monotonic() -> int:
    """Microseconds since some point of this boot, the same for every process of the machine."""
    return time.monotonic_ns() // 1000


def name_of(key: str) -> bytes:
    """The key as it is kept.

    :raises ValueError: it is empty or longer than :data:`MAX_KEY`.
    """
    name = key.encode()
    if not 0 < len(name) <= MAX_KEY:
        raise ValueError(f"a key has 1 to {MAX_KEY} bytes of UTF-8, this one has {len(name)}")
    return name


def lifetime(ttl: float) -> int:
    """``ttl`` seconds in microseconds, rounded up to a whole millisecond as Redis keeps it."""
    return max(1, ceil(ttl * 1000)) * 1000


@cache  # bounded: refuses any count beyond MAX_INTS
def layout(count: int) -> struct.Struct:
    """How ``count`` integers lie in memory: little-endian, 64 bits each, signed."""
    if count > MAX_INTS:
        raise ValueError(f"a value has at most {MAX_INTS} integers, this one has {count}")
    return struct.Struct(f"<{count}q")


def encode(value: Value) -> bytes:
    """:raises ValueError: too long, or not all 64-bit integers."""
    try:
        return layout(len(value)).pack(*value)
    except struct.error as error:
        raise ValueError(f"a value is a tuple of 64-bit integers: {error}") from None


def decode(data: bytes) -> Value | None:
    """What :func:`encode` wrote, or ``None`` when it cannot have been that."""
    count, rest = divmod(len(data), 8)
    return None if rest or count > MAX_INTS else layout(count).unpack(data)
