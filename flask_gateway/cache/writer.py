"""Writes entries on one thread, so that no request waits for a disk."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from .entries import Entries
from .entry import KeptAnswer

log = logging.getLogger(__name__)

#: The most bytes that wait to be written.
WAITING = 16 * 1024 * 1024


class Writer:
    """Writes entries in their order. Threads share it.

    :param told: called on the writing thread with whether an entry was kept, and how many had to go.
    """

    def __init__(self, entries: Entries, told: Callable[[bool, int], None]) -> None:
        self._entries, self._told = entries, told
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="cache")
        self._lock = threading.Lock()
        self._waiting = self._evicted = 0

    def put(self, key: bytes, entry: KeptAnswer) -> bool:
        """Have an entry written; ``False`` if too much waits, or no thread starts."""
        size = len(entry.body)
        with self._lock:
            if self._waiting + size > WAITING:
                return False
            self._waiting += size
        if self.run(lambda: self._write(key, entry)):
            return True
        self._written(size)
        return False

    def run(self, work: Callable[[], object]) -> bool:
        """Do something else on the thread, such as opening the file; ``False`` if it does not start."""
        try:
            self._pool.submit(work)
        except RuntimeError:  # the process ends, or has no thread left
            return False
        return True

    def _write(self, key: bytes, entry: KeptAnswer) -> None:
        kept = False
        try:
            kept = self._entries.put(key, entry)
        except Exception:  # the next entry may be kept
            log.exception("an answer could not be kept")
        finally:
            self._written(len(entry.body))
        gone, self._evicted = self._entries.evicted - self._evicted, self._entries.evicted
        self._told(kept, gone)

    def _written(self, size: int) -> None:
        with self._lock:
            self._waiting -= size

    def close(self) -> None:
        """Write the rest, and end the thread."""
        self._pool.shutdown()
