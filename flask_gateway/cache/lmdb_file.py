"""Keeps entries in one file for all workers, with LMDB. The only module that imports it.

Readers take no lock, and the file never grows beyond its size. LMDB's own lock outlives a killed writer. The
file is a cache and may be lost: it is not brought to the disk, and a damaged one is replaced by an empty one.
"""

from __future__ import annotations

import fcntl
import logging
import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import lmdb

from .entries import Stats
from .entry import KeptAnswer, decoded, encoded

log = logging.getLogger(__name__)

NAME = "answers.lmdb"
#: Threads that read at once, over all workers.
READERS = 4096
#: After a failure to open, the next try comes so much later, seconds.
RETRY = 10.0
#: How long the check of a file may take, seconds.
CHECK = 60.0
_TIME = struct.Struct(">Q")
#: Reads all entries of a file in a process of its own: a damaged file may end the process that reads it.
_READ_ALL = """
import lmdb, sys
env = lmdb.open(sys.argv[1], subdir=False, readonly=True, max_dbs=2, create=False)
with env.begin() as txn:
    for name in (b"entries", b"times"):
        for key, value in txn.cursor(env.open_db(name, txn=txn, create=False)):
            len(key) + len(value)
"""


class LmdbEntries:
    """Entries in the file of a directory. One per process, opened after the fork.

    It opens on the thread that first writes, and until then every look-up is a miss.

    :param directory: of the file, for the user of the gateway alone. :param most: bytes of the file.
    """

    def __init__(self, directory: Path, most: int) -> None:
        self._path, self._most = directory / NAME, most
        self._opening = threading.Lock()
        self._file: _OpenFile | None = None
        self._next_try = self._next_line = 0.0
        self.evicted = 0

    def open(self) -> bool:
        """Open the file, if it is not open and the last failure is a while ago. This may take a second."""
        with self._opening:
            if self._file is not None and self._file.is_intact():
                return True
            now = time.monotonic()
            if now < self._next_try:
                return False
            self._drop_handle()
            try:
                self._file = _OpenFile(self._path, self._most)
            except (OSError, lmdb.Error) as error:
                self._next_try = now + RETRY
                log.error("the cache %s cannot be used now (%s). Calls go on.", self._path, error)
        return self._file is not None

    def _drop_handle(self) -> None:
        """Leave a file that was replaced or damaged. It is not closed: another thread may read it."""
        self._file = None

    def get(self, key: bytes) -> KeptAnswer | None:
        file = self._file
        if file is None or not file.is_intact():
            return None
        try:
            data = file.read(key)
        except lmdb.Error:
            return None
        return None if data is None else decoded(key, data)

    def put(self, key: bytes, entry: KeptAnswer) -> bool:
        if not self.open():
            return False
        file = self._file
        assert file is not None
        data = encoded(key, entry)
        for _ in range(2):
            try:
                file.write(key, data, entry.stored)
            except lmdb.MapFullError:
                self.evicted += file.make_room()
            except lmdb.Error as error:
                self._complain(error)
                return False
            else:
                return True
        return False

    def _complain(self, error: lmdb.Error) -> None:
        now = time.monotonic()
        if now >= self._next_line:
            self._next_line = now + RETRY
            log.error("an answer could not be kept in %s: %s", self._path, error)

    def stats(self) -> Stats:
        file = self._file
        if file is None or not file.is_intact():
            return Stats(0, 0, self._most)
        try:
            return file.stats()
        except lmdb.Error:
            return Stats(0, 0, self._most)

    def clear(self) -> None:
        if self.open() and self._file is not None:
            self._file.clear()

    def close(self) -> None:
        with self._opening:
            file, self._file = self._file, None
            if file is not None:
                file.close()


class _OpenFile:
    """The open file.

    :raises OSError: the directory cannot be used. :raises lmdb.Error: the file cannot.
    """

    def __init__(self, path: Path, most: int) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path, self._most = path, most
        with _alone(path.parent):
            _replace_damaged(path)
            self._env = lmdb.open(
                str(path),
                map_size=most,
                subdir=False,
                max_dbs=2,
                max_readers=READERS,
                mode=0o600,
                sync=False,
                metasync=False,
                readahead=False,
            )
        with suppress(lmdb.Error):
            self._env.reader_check()
        self._entries = self._env.open_db(b"entries")
        self._times = self._env.open_db(b"times")
        status = path.stat()
        self._inode, self._size = (status.st_dev, status.st_ino), status.st_size

    def is_intact(self) -> bool:
        """Whether the path still leads to this file, and no part of it was cut off.

        To read a part that was cut off would end the process.
        """
        try:
            status = os.stat(self._path)
        except OSError:
            return False
        if (status.st_dev, status.st_ino) != self._inode or status.st_size < self._size:
            return False
        self._size = status.st_size
        return True

    def read(self, key: bytes) -> bytes | None:
        with self._env.begin(self._entries) as txn:
            value: bytes | None = txn.get(key)
            return value

    def write(self, key: bytes, data: bytes, stored: float) -> None:
        """:raises lmdb.MapFullError: there is no room."""
        with self._env.begin(write=True) as txn:
            old = txn.get(key, db=self._entries)
            if old is not None and (entry := decoded(key, old)) is not None:
                txn.delete(_index(entry.stored, key), db=self._times)
            txn.put(key, data, db=self._entries)
            txn.put(_index(stored, key), b"", db=self._times)

    def make_room(self) -> int:
        """Drop the oldest tenth; everything, if even that needs more room than there is."""
        try:
            dropped = self._drop_oldest()
            # LMDB uses pages again that were freed two transactions before.
            with self._env.begin(write=True) as txn:
                txn.put(b"turn", b"", db=self._times)
                txn.delete(b"turn", db=self._times)
            return dropped
        except lmdb.MapFullError:
            return self.clear()

    def _drop_oldest(self) -> int:
        with self._env.begin(write=True) as txn:
            most = max(1, txn.stat(self._entries)["entries"] // 10)
            oldest, dropped = txn.cursor(self._times), 0
            while dropped < most and oldest.first():
                key = bytes(oldest.key())[_TIME.size :]
                oldest.delete()
                dropped += txn.delete(key, db=self._entries)
        return dropped

    def clear(self) -> int:
        """Drop all entries."""
        with self._env.begin(write=True) as txn:
            count: int = txn.stat(self._entries)["entries"]
            txn.drop(self._entries, delete=False)
            txn.drop(self._times, delete=False)
        return count

    def stats(self) -> Stats:
        with self._env.begin() as txn:
            entries, times = txn.stat(self._entries), txn.stat(self._times)
        pages = sum(
            one["leaf_pages"] + one["branch_pages"] + one["overflow_pages"] for one in (entries, times)
        )
        return Stats(entries["entries"], pages * entries["psize"], self._most)

    def close(self) -> None:
        self._env.close()


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """One process at a time: two that both find damage must not remove each other's new file."""
    lock = os.open(directory / "opening.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _index(stored: float, key: bytes) -> bytes:
    return _TIME.pack(max(0, int(stored * 1e6))) + key


def _replace_damaged(path: Path) -> None:
    """Remove a file that cannot be read to its end."""
    if not path.exists() or _is_readable(path):
        return
    log.warning("the cache in %s is damaged and begins empty", path)
    for one in (path, path.with_name(f"{path.name}-lock")):
        with suppress(FileNotFoundError):
            one.unlink()


def _is_readable(path: Path) -> bool:
    command = [sys.executable, "-c", _READ_ALL, str(path)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=CHECK, check=False)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0
