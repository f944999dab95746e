"""Reads from PostgreSQL what a subject has used. A call that opens an account waits for it at most 0.2 s.

A thread connects, so that no call waits for that once PostgreSQL is known to be away.
"""

from __future__ import annotations

import sqlite3
import threading
import time
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

    :param pause: between two attempts to connect, seconds.
    """

    def __init__(self, url: str, pause: float = _PAUSE) -> None:
        self._url, self._pause = url, pause
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        #: Set while no thread connects.
        self._idle = threading.Event()
        self._idle.set()
        #: Why PostgreSQL is known to be away; empty: it is not.
        self._away = ""
        self._over = threading.Event()

    def used(self, subject: str, starts: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        """Return what a subject has used in the day, week, month and in total, nano-dollars.

        :param starts: of those windows, epoch seconds.
        :raises BooksUnknown: PostgreSQL does not say so in time.
        """
        windows = [(window.value, start) for window, start in zip(Window, starts, strict=True)]
        deadline = time.monotonic() + PATIENCE
        if not self._lock.acquire(timeout=PATIENCE):
            raise BooksUnknown("the ledger is busy")
        try:
            # A connection that the server has ended meanwhile fails at once: there is time for another one.
            while True:
                connection = self._connected(deadline)
                try:
                    day, week, month, total = database.balances(connection, subject, windows)
                except sqlite3.Error as error:
                    self._drop(str(error) if time.monotonic() >= deadline else "")
                    if self._away:
                        raise BooksUnknown(str(error)) from error
                else:
                    return day, week, month, total
        finally:
            self._lock.release()

    def close(self) -> None:
        self._over.set()
        self._drop("closed")

    def _drop(self, reason: str) -> None:
        connection, self._connection, self._away = self._connection, None, reason
        if connection is not None:
            connection.close()

    def _connected(self, deadline: float) -> sqlite3.Connection:
        if self._connection is None and self._idle.is_set():
            self._idle.clear()
            try:
                threading.Thread(target=self._connect, name="ledger-connect", daemon=True).start()
            except RuntimeError:  # the system has no thread left
                self._idle.set()
        while self._connection is None and not self._away and time.monotonic() < deadline:
            time.sleep(0.002)
        connection = self._connection
        if connection is None:
            self._away = self._away or "PostgreSQL did not take a connection in time"
            raise BooksUnknown(self._away)
        return connection

    def _connect(self) -> None:
        """Try until it succeeds, so that no call after an outage has to wait."""
        try:
            while not self._over.is_set():
                made = PostgresConnection(self._url, PATIENCE)
                try:
                    made.connect()
                except sqlite3.Error as error:
                    self._away = str(error)
                    self._over.wait(self._pause)
                else:
                    self._connection, self._away = cast(sqlite3.Connection, made), ""
                    return
        finally:
            self._idle.set()
