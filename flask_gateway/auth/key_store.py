"""Opens ``keys.db``, the database of issued keys: for readers at any time, for one writer at a time.

It has a rollback journal and ``synchronous=FULL``, because writes are rare and must last. A writer holds
``flock`` on ``keys.lock`` from before its transaction until the workers know of the change.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ..ledger.sqlite_file import connect, copy, pending_steps

#: The name of the database in the data directory.
NAME = "keys.db"
_LOCK = "keys.lock"
#: How long a writer waits for another, and a statement for a lock, seconds.
PATIENCE = 2.0
_PAUSE = 0.01
#: A file that was written so lately may change again without another time of change, seconds.
_FRESH = 2.0


class KeyStoreError(Exception):
    """The database cannot be used now. The text says why; it has no secret in it."""


class KeyStore:
    """The database of issued keys in a data directory. Every use opens a connection of its own, so threads
    and forked processes may share it.

    :param data: the directory. A writer makes it where it is missing, for its own user alone.
    """

    #: Whether the database is a copy of another one, so that it may be behind the announced changes.
    copies = False

    def __init__(self, data: Path) -> None:
        self._data = data
        self.path = data / NAME

    def refresh(self) -> None:
        """Bring a copy up to date. This database is none."""

    def copied(self, connection: sqlite3.Connection) -> int | None:
        """Return the generation of changes that a copy has. This database is none."""
        return None

    def exists(self) -> bool:
        """Whether there are tables. The first writer makes an empty file, then the tables in it."""
        try:
            return self.path.stat().st_size > 0
        except OSError:
            return False

    def version(self) -> tuple[int, ...] | None:
        """Identify the state of the file; ``None`` if it was written just now.

        Its times have steps of some milliseconds, so a second change within one is not seen by them.
        """
        try:
            status = self.path.stat()
        except OSError:
            return None
        if not max(status.st_mtime, status.st_ctime) < time.time() - _FRESH:
            return None
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns

    @contextmanager
    def reading(self, patience: float = PATIENCE) -> Iterator[sqlite3.Connection]:
        """Open a connection that sees one state of the database and cannot change it.

        :param patience: how long to wait for a writer, seconds.
        :raises KeyStoreError: there is none, or it cannot be read.
        """
        try:
            with closing(self._connect(patience)) as connection:
                connection.execute("PRAGMA query_only = ON")
                connection.execute("BEGIN")
                yield connection
        except sqlite3.Error as error:
            raise KeyStoreError(f"{self.path}: {error}") from error

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Hold the lock of writers, and open a connection to up-to-date tables.

        The caller begins and commits the transaction (:func:`transaction`).

        :raises KeyStoreError: the disk refuses, another process holds the lock, or the tables are newer.
        """
        try:
            self._data.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._locked():
                self.path.touch(mode=0o600, exist_ok=True)
                with closing(self._connect(PATIENCE)) as connection:
                    connection.execute("PRAGMA foreign_keys = ON")
                    connection.execute("PRAGMA synchronous = FULL")
                    _migrate(connection, self.path)
                    yield connection
        except (sqlite3.Error, OSError) as error:
            raise KeyStoreError(f"{self.path}: {error}") from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self._data / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _lock(descriptor)
            yield
        finally:
            os.close(descriptor)  # frees the lock

    def _connect(self, patience: float) -> sqlite3.Connection:
        # Opened for writing by readers, too: a writer that was killed leaves a journal to roll back.
        return connect(self.path, patience)


def _lock(descriptor: int) -> None:
    """Take the lock, or raise ``OSError`` when another process keeps it for too long."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > end:
                raise
        time.sleep(_PAUSE)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit at the end, or roll back where an exception leaves the block."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the tables up to date. A copy of the old database stays in the directory."""
    version, steps = pending_steps(connection, path, __package__, KeyStoreError)
    if version and steps:
        copy(connection, path.with_name(f"{NAME}.version-{version}"))
    for step in steps:
        connection.executescript(step)
