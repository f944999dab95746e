"""Keeps metric values in memory-mapped files that are allocated before they are written.

``prometheus_client`` maps sparse files. A write to a hole in a full ``/dev/shm`` ends the process by SIGBUS.
These files have the library's format, so its collector reads them, but every byte is allocated before it is
mapped. Without space a value stays in its process, and is written to its file later. No call fails for that.
"""

from __future__ import annotations

import logging
import os
import struct
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from mmap import mmap
from pathlib import Path
from typing import Any, ClassVar

from prometheus_client.mmap_dict import mmap_key

log = logging.getLogger(__name__)

#: The size of a new file, bytes. It doubles as needed.
FILE_SIZE = 1 << 16
#: The least time between two attempts to allocate space, and between two warnings, seconds.
RETRY, QUIET = 1.0, 60.0

_USED = struct.Struct("i")
_PAIR = struct.Struct("dd")  # the value and its time
_pack = _PAIR.pack
_BEGIN = 8  # of the first entry


class MetricFile:
    """One file of values, written by one process. Callers hold the lock of :class:`MetricFiles`.

    :raises OSError: there is no space for it, or no such directory.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            _create(path)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._map(max(FILE_SIZE, os.fstat(self._descriptor).st_size))
        except BaseException:
            os.close(self._descriptor)
            raise
        self._offsets: dict[str, int] = {}
        self._used = _BEGIN
        with suppress(struct.error, UnicodeDecodeError, IndexError):  # a damaged file starts empty
            self._read_offsets()
        self.memory[: _USED.size] = _USED.pack(self._used)

    def offset(self, key: str) -> int:
        """Return the offset of the key's value. Add the key if it is new.

        :raises OSError: there is no space for it.
        """
        known = self._offsets.get(key)
        return self._add(key) if known is None else known

    def _map(self, size: int) -> None:
        os.posix_fallocate(self._descriptor, 0, size)
        self.memory = mmap(self._descriptor, size)

    def _read_offsets(self) -> None:
        (used,) = _USED.unpack_from(self.memory, 0)
        at = _BEGIN
        while at < used <= len(self.memory):
            (length,) = _USED.unpack_from(self.memory, at)
            key = self.memory[at + _USED.size : at + _USED.size + length].decode()
            at += _USED.size + _padded(length)
            _PAIR.unpack_from(self.memory, at)  # it must be inside the file
            self._offsets[key] = at
            at += _PAIR.size
            self._used = at

    def _add(self, key: str) -> int:
        name = key.encode()
        padded = name.ljust(_padded(len(name)))
        entry = _USED.pack(len(name)) + padded + _PAIR.pack(0.0, 0.0)
        while self._used + len(entry) > len(self.memory):
            self._map(2 * len(self.memory))
        end = self._used + len(entry)
        self.memory[self._used : end] = entry
        # Readers see the entry only now, when it is complete.
        self.memory[: _USED.size] = _USED.pack(end)
        self._used = end
        self._offsets[key] = end - _PAIR.size
        return self._offsets[key]


def _padded(length: int) -> int:
    """The padded length of a key, padded as the library does."""
    return length + 8 - (length + _USED.size) % 8


def _create(path: Path) -> None:
    """Make an empty file. Rename it only after it is allocated, because a scrape fails on an empty file."""
    unnamed = path.with_suffix(".new")
    try:
        with unnamed.open("wb") as made:
            os.posix_fallocate(made.fileno(), 0, FILE_SIZE)
        unnamed.rename(path)
    except OSError:
        unnamed.unlink(missing_ok=True)
        raise


class MetricFiles:
    """The files of one process, and the values that do not fit yet. All threads share it.

    :param slot: part of the files' names; no other living process has it.
    """

    def __init__(self, folder: Path, slot: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._slot = slot
        self._clock = clock
        self.lock = threading.Lock()
        self._files: dict[str, MetricFile] = {}
        self._unplaced: list[MetricValue] = []
        self._retry_at = 0.0
        self._warned_at: float | None = None
        self._reason = ""

    def open(self, *kinds: str) -> None:
        """Make the files now, so that the first scrape finds them."""
        try:
            with self.lock:
                for kind in kinds:
                    self._file(kind)
        except (OSError, ValueError) as error:
            self._note(error)

    def trouble(self) -> str:
        """Try to place all values. Returns why some are not in their file; empty if all are."""
        self.place_values()
        return self._reason if self._unplaced else ""

    def add(self, value: MetricValue) -> None:
        """Place a new value in its file, or keep it in this process."""
        with self.lock:
            self._unplaced.append(value)
        self.place_values()

    def place_values(self) -> None:
        """Write unplaced values to their files, at most once every :data:`RETRY` seconds."""
        if not self._unplaced or self._clock() < self._retry_at:
            return
        error: Exception | None = None
        with self.lock:
            try:
                while self._unplaced:
                    value = self._unplaced[-1]
                    file = self._file(value.kind)
                    value.settle(file, file.offset(value.key))
                    self._unplaced.pop()
            except (OSError, ValueError) as caught:
                error = caught
                self._retry_at = self._clock() + RETRY
        self._note(error)

    def _file(self, kind: str) -> MetricFile:
        if kind not in self._files:
            self._files[kind] = MetricFile(self._folder / f"{kind}_{self._slot}.db")
        return self._files[kind]

    def _note(self, error: Exception | None) -> None:
        """Log missing space, at most once a minute, and its end."""
        now = self._clock()
        if error is not None:
            self._reason = (
                f"no space for metrics in {self._folder}: {getattr(error, 'strerror', '') or error}"
            )
            if self._warned_at is None or now - self._warned_at >= QUIET:
                self._warned_at = now
                log.warning("%s; calls are served, some figures are missing from /metrics", self._reason)
        elif self._warned_at is not None and not self._unplaced:
            self._warned_at = None
            log.warning("metrics are complete again: there is space in %s", self._folder)


class MetricValue:
    """One value: a ``ValueClass`` of ``prometheus_client``. A subclass binds it to ``files``."""

    _multiprocess = True
    files: ClassVar[MetricFiles]

    def __init__(  # noqa: PLR0913 - the library's signature
        self,
        typ: str,
        metric_name: str,
        name: str,
        labelnames: Sequence[str],
        labelvalues: Sequence[str],
        help_text: str,
        multiprocess_mode: str = "",
        **_: Any,
    ) -> None:
        self.kind = f"{typ}_{multiprocess_mode}" if typ == "gauge" else typ
        self.key = mmap_key(metric_name, name, list(labelnames), list(labelvalues), help_text)
        self._value = 0.0
        self._file: MetricFile | None = None
        #: Where it is in the file.
        self._span = slice(0)
        self._lock = self.files.lock
        self.files.add(self)

    def settle(self, file: MetricFile, at: int) -> None:
        """Move to the file, and add the count that an earlier process left there."""
        before, _ = _PAIR.unpack_from(file.memory, at)
        if not self.kind.startswith("gauge"):
            self._value += before
        file.memory[at : at + _PAIR.size] = _PAIR.pack(self._value, 0.0)
        self._file, self._span = file, slice(at, at + _PAIR.size)

    def inc(self, amount: float) -> None:
        file = self._file
        if file is None:
            self.files.place_values()
            with self._lock:
                self._write(self._value + amount, 0.0)
            return
        with self._lock:  # `_write` without its call: a call of the gateway makes eleven of them
            self._value = value = self._value + amount
            file.memory[self._span] = _pack(value, 0.0)

    def set(self, value: float, timestamp: float | None = None) -> None:
        if self._file is None:
            self.files.place_values()
        with self.files.lock:
            self._write(value, timestamp or 0.0)

    def _write(self, value: float, timestamp: float) -> None:
        self._value = value
        if self._file is not None:
            self._file.memory[self._span] = _pack(value, timestamp)

    def get(self) -> float:
        return self._value

    def set_exemplar(self, exemplar: Any) -> None:
        """Exemplars are not kept."""

    def get_exemplar(self) -> None:
        return None


def values_in(files: MetricFiles) -> type[MetricValue]:
    """Make the value class whose values are kept in those files."""
    return type("MetricValueInFile", (MetricValue,), {"files": files})
