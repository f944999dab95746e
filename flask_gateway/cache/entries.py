"""Keeps entries: the protocol, and the form in the memory of one process."""

from __future__ import annotations

import threading
from typing import NamedTuple, Protocol

from cachetools import LRUCache

from .entry import KeptAnswer


class Stats(NamedTuple):
    """How full a cache is. :param used: bytes. :param most: bytes."""

    entries: int
    used: int
    most: int


class Entries(Protocol):
    """Keeps answers by their keys. Threads share it. It never raises: what cannot be read is a miss."""

    def open(self) -> bool:
        """Open what holds them, if it is not open; ``False`` if that fails. This may take a while."""
        ...

    def get(self, key: bytes) -> KeptAnswer | None:
        """The entry; ``None`` if there is none that is whole."""
        ...

    def put(self, key: bytes, entry: KeptAnswer) -> bool:
        """Keep an entry; ``False`` if there is no room. This may take a while: no request waits for it."""
        ...

    def stats(self) -> Stats: ...

    def clear(self) -> None: ...

    def close(self) -> None: ...

    @property
    def evicted(self) -> int:
        """How many entries have been dropped to make room, in this process."""
        ...


class MemoryEntries:
    """Entries of this process alone. The longest unused one goes first.

    :param most: bytes of all bodies.
    """

    #: An entry takes about so many bytes more than its body.
    OVERHEAD = 512

    def __init__(self, most: int) -> None:
        self._lock = threading.Lock()
        self._most = most
        self._entries: LRUCache[bytes, KeptAnswer] = LRUCache(most, _size)
        self.evicted = 0

    def open(self) -> bool:
        return True

    def get(self, key: bytes) -> KeptAnswer | None:
        with self._lock:
            return self._entries.get(key)

    def put(self, key: bytes, entry: KeptAnswer) -> bool:
        with self._lock:
            before = len(self._entries) - (key in self._entries)
            try:
                self._entries[key] = entry
            except ValueError:  # larger than everything together
                return False
            self.evicted += before + 1 - len(self._entries)
        return True

    def stats(self) -> Stats:
        with self._lock:
            return Stats(len(self._entries), int(self._entries.currsize), self._most)

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()

    def close(self) -> None:
        self.clear()


def _size(entry: KeptAnswer) -> int:
    return len(entry.body) + MemoryEntries.OVERHEAD
