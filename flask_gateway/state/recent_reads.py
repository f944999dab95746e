"""Remembers what a process has read of Redis lately, so that calls need no round trip for it.

An update of this process ends what is remembered of its key. A read that had begun before is not
remembered: it may be older than the update.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from .store import Value

#: The most keys that are remembered.
MOST = 1024


class LastRead(NamedTuple):
    """A value that was read. :param asked: the moment before, seconds."""

    value: Value | None
    asked: float


class RecentReads:
    """The reads of a process. Threads share it: ``_lock`` guards it.

    :param lasts: for how long a read is remembered, seconds. :param clock: seconds.
    """

    def __init__(self, lasts: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._lasts = lasts
        self._lock = threading.Lock()
        self._reads: dict[bytes, LastRead] = {}
        #: The keys that are being read, each with a mark that an update of the key removes.
        self._marks: dict[bytes, object] = {}
        #: The keys of which an update of this process may be hidden for as long as those of others.
        self.lax: set[bytes] = set()

    def get(self, name: bytes) -> LastRead | None:
        """The last read of a key; ``None`` if it is not remembered."""
        read = self._reads.get(name)
        return None if read is None or self.clock() - read.asked >= self._lasts else read

    def begin(self, names: Iterable[bytes]) -> dict[bytes, object]:
        """Note that keys are about to be read. Return their marks for :meth:`end`."""
        with self._lock:
            return {name: self._marks.setdefault(name, object()) for name in names}

    def end(self, marks: Mapping[bytes, object], values: Mapping[bytes, Value | None], asked: float) -> None:
        """Remember what was read, but for keys that this process has updated since :meth:`begin`.

        :param values: by key; empty if the read has failed.
        """
        with self._lock:
            for name, mark in marks.items():
                if self._marks.get(name) is mark:
                    del self._marks[name]
                    if name in values:
                        self._reads[name] = LastRead(values[name], asked)
            if len(self._reads) > MOST:
                oldest = sorted(self._reads, key=lambda name: self._reads[name].asked)
                for name in oldest[: len(oldest) // 2]:
                    del self._reads[name]

    def forget(self, names: Iterable[bytes]) -> None:
        """Note an update of this process."""
        with self._lock:
            for name in names:
                if name not in self.lax:
                    self._reads.pop(name, None)
                    self._marks.pop(name, None)
