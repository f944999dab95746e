"""Writes a worker's journal: a line per admitted call and per settled leg, each in one appending write.

The newest file of a worker is locked for as long as the worker lives, so the bookkeeper knows the calls of a
dead one. No lock is held while a line is written: the kernel appends whole writes. Where the disk refuses,
lines wait in memory; the oldest are dropped and counted.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import logging
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from .lines import Line, encode

log = logging.getLogger(__name__)

#: The size at which a worker begins its next file, bytes.
FILE_BYTES = 1024 * 1024
#: Lines that wait in memory while the disk refuses.
WAITING = 10_000
#: Seconds between two log lines about a disk that refuses.
_PAUSE = 60.0
#: A file that is being made and is not locked yet has a name that begins so.
UNFINISHED = "."


class Journal:
    """The journal of this process. Threads share it.

    :param directory: ``DATA/journal``, which exists.
    """

    def __init__(self, directory: Path, *, file_bytes: int = FILE_BYTES, waiting: int = WAITING) -> None:
        self._directory = directory
        self._file_bytes = file_bytes
        #: The name of this process: when it started, its pid, and random digits.
        self.worker = f"{time.time_ns():020d}-{os.getpid()}-{secrets.token_hex(4)}"
        self._file: _File | None = None
        self._size = 0
        self._parts = itertools.count(1)
        self._opening = threading.Lock()
        self._waiting: deque[bytes] = deque()
        self._most_waiting = waiting
        self._counting = threading.Lock()
        self._next_log = 0.0
        self._calls = itertools.count(1)
        #: Called with each line that is dropped.
        self.dropped: Callable[[bytes], None] = _nothing
        #: Lines that were dropped because the disk refused for too long.
        self.lost = 0

    @property
    def degraded(self) -> bool:
        """Whether lines wait in memory, because the disk refuses them."""
        return bool(self._waiting)

    def number(self) -> int:
        """Return the number of the next call, from 1."""
        return next(self._calls)

    def write(self, line: Line) -> bool:
        """Append a line. Return whether it is in the file; otherwise it waits in memory.

        It never raises for the disk's sake: a call goes on whatever the disk does.
        """
        text = encode(line)
        # Lines behind waiting ones wait too, so that the line that settles a call stays behind its opening.
        if self._waiting or not self._append(text):
            self._keep(text)
            return False
        return True

    def sync(self) -> None:
        """Write what waits, and bring the file to the disk itself. One thread calls this, once a second.

        :raises OSError: the disk refuses.
        """
        self._drain()
        file = self._file
        if file is not None:
            size = os.fstat(file.fd).st_size
            if size != file.synced:
                os.fdatasync(file.fd)
                file.synced = size

    def close(self) -> None:
        """Write what waits, if the disk takes it, and release the file."""
        self._drain()
        self._file = None

    def _append(self, text: bytes) -> bool:
        try:
            file = self._file
            if file is None or self._size >= self._file_bytes:
                file = self._next_file(file)
            written = os.write(file.fd, text)
            # Without its last newline a line is whole: the next line begins with one.
            if written >= len(text) - 1:
                self._size += written
                return True
            # Torn bytes do not count, so that the line comes again in the same file.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._complain(error)
            return False

    def _next_file(self, full: _File | None) -> _File:
        """Open the next file, unless another thread has. Threads that still write to the full one may end."""
        with self._opening:
            if self._file is not None and self._file is not full:
                return self._file
            path = self._directory / f"{self.worker}.{next(self._parts):06d}"
            unfinished = path.with_name(UNFINISHED + path.name)
            fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
            file = _File(fd)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            unfinished.rename(path)
            self._file, self._size = file, 0
            return file

    def _keep(self, text: bytes) -> None:
        dropped = b""
        with self._counting:
            if len(self._waiting) >= self._most_waiting:
                dropped = self._waiting.popleft()
                self.lost += 1
            self._waiting.append(text)
        if dropped:
            self.dropped(dropped)

    def _drain(self) -> None:
        while self._waiting:
            text = self._waiting[0]
            if not self._append(text):
                return
            with self._counting:
                if self._waiting and self._waiting[0] is text:
                    self._waiting.popleft()

    def _complain(self, error: OSError) -> None:
        now = time.monotonic()
        if now >= self._next_log:
            self._next_log = now + _PAUSE
            log.error(
                "the journal in %s cannot be written (%s). Calls go on; %d lines wait, %d are lost.",
                self._directory,
                error.strerror or error,
                len(self._waiting),
                self.lost,
            )


def _nothing(text: bytes) -> None:
    """Do nothing for a line that is dropped."""


class _File:
    """An open file. It closes when the last thread that writes to it has let go of it.

    :ivar synced: the bytes of it that are on the disk itself.
    """

    __slots__ = ("fd", "synced")

    def __init__(self, fd: int) -> None:
        self.fd, self.synced = fd, 0

    def __del__(self) -> None:
        os.close(self.fd)
