"""Reads from the ledger what a subject has used. Only the opening of an account waits for it."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

from ..model.calendar_windows import Window
from ..model.spend import BooksUnknown
from . import database

#: How long a call waits for a database that somebody else has locked (see the pragma), and for other threads,
#: seconds.
_PATIENCE = 0.2


class LedgerBalances:
    """The balances of one data directory. Threads share it, and read one after another."""

    def __init__(self, data: Path) -> None:
        self._path = data / database.NAME
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def used(self, subject: str, starts: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        """Return what a subject has used in the day, week, month and in total, nano-dollars.

        :param starts: of those windows, epoch seconds.
        :raises BooksUnknown: the database cannot be read now.
        """
        windows = [(window.value, start) for window, start in zip(Window, starts, strict=True)]
        if not self._lock.acquire(timeout=_PATIENCE):
            raise BooksUnknown("the ledger is busy")
        try:
            if self._connection is None:
                self._connection = database.read(self._path)
                self._connection.execute("PRAGMA busy_timeout = 200")
            day, week, month, total = database.balances(self._connection, subject, windows)
        except sqlite3.Error as error:
            self.close()
            raise BooksUnknown(str(error)) from error
        finally:
            self._lock.release()
        return day, week, month, total

    def close(self) -> None:
        """Close the database. The next use opens it again: the file may have been replaced."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
