"""Provides what the tests of the shared memory share: integers of all processes, and keys of one bucket."""

from __future__ import annotations

from itertools import count as count_from
from itertools import islice
from mmap import mmap

from flask_gateway.state.shm_table import slot_address


class Flags:
    """A few integers that a parent and its children see alike, each stored in one piece or not at all."""

    def __init__(self) -> None:
        self._words = memoryview(mmap(-1, 4096)).cast("q")

    def __getitem__(self, index: int) -> int:
        return self._words[index]

    def __setitem__(self, index: int, value: int) -> None:
        self._words[index] = value


def crowd(bucket: int, count: int) -> list[str]:
    """Keys that all belong to one bucket."""
    keys = (f"crowd {n}" for n in count_from(0))
    return list(islice((key for key in keys if slot_address(key).bucket == bucket), count))
