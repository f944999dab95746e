"""Opens the ledger of the settings: a file of this machine, or PostgreSQL for several machines."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Protocol

from ..config.schema import LedgerSettings
from . import database


class LedgerPlace(Protocol):
    """The database of a ledger. The connections of both kinds run the same statements."""

    def read(self) -> sqlite3.Connection:
        """Open it for reading. :raises sqlite3.Error: it cannot be read now."""
        ...

    def write(self) -> sqlite3.Connection:
        """Open it for a bookkeeper, and bring its tables up to date.

        :raises LedgerError: it is of a newer version. :raises sqlite3.Error: it cannot be written now.
        """
        ...


class LocalLedger:
    """``ledger.db`` in a data directory."""

    def __init__(self, data: Path) -> None:
        self._path = data / database.NAME

    def read(self) -> sqlite3.Connection:
        return database.read(self._path)

    def write(self) -> sqlite3.Connection:
        return database.write(self._path)


class PostgresLedger:
    """The ledger of several machines. :param url: as libpq takes it."""

    def __init__(self, url: str) -> None:
        self._url = url

    def read(self) -> sqlite3.Connection:
        from .postgres import opened

        return opened(self._url)

    def write(self) -> sqlite3.Connection:
        from .postgres import migrate, opened

        connection = opened(self._url)
        try:
            migrate(connection, __package__, "ledger", database.LedgerError)
        except BaseException:
            connection.close()
            raise
        return connection


def ledger_of(ledger: LedgerSettings) -> LedgerPlace:
    """Return the ledger of the settings, which name a data directory."""
    assert ledger.data is not None
    if ledger.database is None:
        return LocalLedger(Path(ledger.data))
    try:
        import psycopg  # noqa: F401 - alone in the try, so that no other failed import looks like this one
    except ImportError:
        raise ValueError(
            "database_env in [ledger] needs the psycopg package; "
            "in a clone: .venv/bin/pip install '.[postgres]'"
        ) from None
    return PostgresLedger(ledger.database.reveal())
