"""Reads from PostgreSQL what a subject has used. A call that opens an account waits for it at most 0.2 s.

A thread connects, so that no call waits for that once PostgreSQL is known to be away.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from typing import cast

from ..model.calendar_windows import Window
from ..model.spend import BooksUnknown
from . import database
from .postgres import PostgresConnection

#: The longest that a call waits: for other threads, for the first connection, and for the answer, seconds.
PATIENCE = 0.2
#: The shortest time between two attempts to connect, seconds.
_PAUSE = 1.0


class PostgresBalances:
    """The balances of the ledger of several machines. Threads share it, and read one after another.

    :param clock: seconds.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._url, self._clock = url, clock
        self._lock = threading.Lock()
        #: Held while a thread connects.
        self._connecting = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._failed = ""
        self._next_try = 0.0

    def used(self, subject: str, starts: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        """Return what a subject has used in the day, week, month and in total, nano-dollars.

        :param starts: of those windows, epoch seconds.
        :raises BooksUnknown: PostgreSQL does not say so in time.
        """
        windows = [(window.value, start) for window, start in zip(Window, starts, strict=True)]
        connection = self._ready()
        if not self._lock.acquire(timeout=PATIENCE):
            raise BooksUnknown("the ledger is busy")
        try:
            day, week, month, total = database.balances(connection, subject, windows)
        except sqlite3.Error as error:
            self._fail(str(error))
            raise BooksUnknown(str(error)) from error
        finally:
            self._lock.release()
        return day, week, month, total

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _ready(self) -> sqlite3.Connection:
        if self._connection is None:
            thread = self._connect_soon()
            if thread is not None and not self._failed:
                thread.join(PATIENCE)
        connection = self._connection
        if connection is None:
            raise BooksUnknown(self._failed or "PostgreSQL did not take a connection in time")
        return connection

    def _connect_soon(self) -> threading.Thread | None:
        if self._clock() < self._next_try or not self._connecting.acquire(blocking=False):
            return None
        self._next_try = self._clock() + _PAUSE
        thread = threading.Thread(target=self._connect, name="ledger-connect", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has no thread left
            self._connecting.release()
            return None
        return thread

    def _connect(self) -> None:
        made = PostgresConnection(self._url, PATIENCE)
        try:
            made.connect()
        except sqlite3.Error as error:
            self._failed = str(error)
        else:
            self._failed, self._connection = "", cast(sqlite3.Connection, made)
        finally:
            self._connecting.release()

    def _fail(self, reason: str) -> None:
        self.close()
        self._failed, self._next_try = reason, self._clock() + _PAUSE
