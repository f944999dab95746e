"""Keeps the issued keys of several machines in PostgreSQL, and a copy of them in ``keys.db`` of each machine.

Changes go to PostgreSQL. Workers read the copy alone, so they know the keys while PostgreSQL is away, also at
a start. One process of each machine, the holder of a lock, brings the copy up to date: once a second, and at
once when the store says that keys have changed.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ..ledger.file_lock import lock_file
from ..ledger.postgres import PATIENCE, migrate, opened
from ..state.store import Store
from . import key_copy_rows as rows
from .key_ring import GENERATION
from .key_rows import position
from .key_store import KeyStore, KeyStoreError, transaction

log = logging.getLogger(__name__)

#: How often the copy is compared with PostgreSQL without any news, seconds.
PERIOD = 1.0
_LOCK = "keys.copy.lock"
#: Held by each transaction that changes keys: changes are numbered in the order of their commits.
_CHANGE_LOCK = 0x6B657973
#: The shortest time between two log lines about PostgreSQL, seconds.
_QUIET = 60.0


class CopiedKeyStore(KeyStore):
    """The keys of several machines. Threads and forked processes may share it until the first use.

    :param data: the directory of the copy. :param url: of PostgreSQL.
    :param store: has the generation of changes.
    """

    copies = True

    def __init__(self, data: Path, url: str, store: Store) -> None:
        super().__init__(data)
        self._url, self._store = url, store
        self._remote: sqlite3.Connection | None = None
        self._lock: int | None = None
        self._next = 0.0
        self._next_log = 0.0

    def exists(self) -> bool:
        """Keys may come at any moment, so they are always looked for."""
        return True

    @contextmanager
    def reading(self, patience: float = PATIENCE) -> Iterator[sqlite3.Connection]:
        if not self.path.exists():
            self._pull()
        with super().reading(patience) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Open PostgreSQL. The copy has the change before the admin has the answer.

        :raises KeyStoreError: PostgreSQL cannot be changed now.
        """
        try:
            with closing(opened(self._url, lock=_CHANGE_LOCK)) as connection:
                migrate(connection, __package__, "keys", KeyStoreError)
                yield connection
        except sqlite3.Error as error:
            raise KeyStoreError(str(error)) from error
        try:
            self._pull()
        except KeyStoreError as error:
            log.warning("flask-gateway: the copy of the keys is late: %s", error)

    def refresh(self) -> None:
        """Bring the copy up to date, if that is due and this process does it. One thread calls it."""
        now = time.monotonic()
        if not self._is_mine() or (now < self._next and self._has_news() is False):
            return
        self._next = now + PERIOD
        try:
            self._pull()
        except KeyStoreError as error:
            if now >= self._next_log:
                self._next_log = now + _QUIET
                log.warning("flask-gateway: keys go on as they are known: %s", error)

    def copied(self, connection: sqlite3.Connection) -> int | None:
        return rows.generation(connection)

    def _has_news(self) -> bool:
        generation = self._generation()
        try:
            with super().reading(0.05) as connection:
                return generation is not None and generation != rows.generation(connection)
        except KeyStoreError:
            return True

    def _generation(self) -> int | None:
        value = self._store.read(GENERATION)
        return value[0] if value else None

    def _is_mine(self) -> bool:
        """Whether this process keeps the copy. The lock ends with the process, and another takes over."""
        if self._lock is None:
            try:
                self._data.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._lock = lock_file(self._data / _LOCK)
            except OSError:
                return False
        return True

    def _pull(self) -> None:
        """Copy what has changed.

        :raises KeyStoreError: PostgreSQL or the disk does not serve now. The copy is as it was.
        """
        # The generation comes first: what was announced before is in PostgreSQL.
        generation = self._generation()
        try:
            if self._remote is None:
                self._remote = opened(self._url)
                migrate(self._remote, __package__, "keys", KeyStoreError)
            with super().writing() as local:
                found = rows.changed(self._remote, position(local))
                with transaction(local):
                    rows.take(local, found, generation)
        except (sqlite3.Error, KeyStoreError) as error:
            self._close()
            raise KeyStoreError(str(error)) from error

    def _close(self) -> None:
        remote, self._remote = self._remote, None
        if remote is not None:
            remote.close()

    def close(self) -> None:
        """Close the connection, and let another process keep the copy."""
        self._close()
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)
