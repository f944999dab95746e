"""Opens PostgreSQL with the interface of ``sqlite3``, so that ledger and keys have one set of statements.

This is the extra ``postgres`` (psycopg 3); it is imported only where a database is named. TLS and a list of
hosts for failover are libpq's own: ``postgresql://a,b/gateway?target_session_attrs=read-write&sslmode=verify-full``
(https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING).

Its errors are those of ``sqlite3``: callers know one kind of trouble. A connection that has failed is opened
again by the next statement, but never within a transaction.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib.resources import files
from typing import Any, cast

import psycopg
from psycopg.types.numeric import IntDumper, IntLoader

#: How long one statement may take, and a connection to one host, seconds.
PATIENCE, CONNECTING = 2.0, 2
#: Statements of one round trip.
_TOGETHER = 200
#: The lock under which tables are brought up to date.
_MIGRATION_LOCK = 0x466C61736B
#: Columns that are words of PostgreSQL's grammar; marks of parameters; texts and comments stay as they are.
_TOKENS = re.compile(r"'[^']*'|\?|:[a-z_]+|\b(?:user|offset|window)\b|%")
#: The few expressions that SQLite and PostgreSQL write differently.
_PHRASES = (
    ("BEGIN IMMEDIATE", "BEGIN"),
    ("json_each(:subjects) AS asked", "json_array_elements_text(CAST(:subjects AS json)) AS asked (value)"),
)

Parameters = Sequence[object] | Mapping[str, object]


@cache  # bounded: statements are constants of the source
def translated(statement: str) -> Any:
    """Return a statement of SQLite as psycopg takes it: a text, which psycopg wants to be a literal."""
    for theirs, ours in _PHRASES:
        statement = statement.replace(theirs, ours)
    return _TOKENS.sub(_token, statement)


def _token(match: re.Match[str]) -> str:
    token = match[0]
    if token == "?":  # noqa: S105
        return "%s"
    if token[0] == ":":
        return f"%({token[1:]})s"
    return token.replace("%", "%%") if token[0] in "'%" else f'"{token}"'


def _clean(parameters: Parameters) -> Any:
    """Replace the characters that PostgreSQL does not keep in a text, such as NUL."""
    if isinstance(parameters, Mapping):
        return {name: _kept(value) for name, value in parameters.items()}
    return [_kept(value) for value in parameters]


def _kept(value: object) -> object:
    if not isinstance(value, str) or value.isprintable():
        return value
    return value.replace("\0", "\ufffd").encode(errors="replace").decode()


class _Timed(psycopg.Connection[Any]):
    """A connection whose statements end within its patience, also while the server is stopped."""

    patience = PATIENCE

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        try:
            return super().wait(gen, interval, self.patience if timeout is None else timeout)
        except psycopg.errors._WaitTimeout:
            self.pgconn.finish()
            raise psycopg.OperationalError(f"no answer within {self.patience:g} s") from None


class PostgresConnection:
    """A connection that runs the statements of SQLite in PostgreSQL. One thread at a time uses it.

    :param url: as libpq takes it. :param patience: of each statement, seconds.
    :param lock: the advisory lock that each transaction takes first; 0: none.
    """

    def __init__(self, url: str, patience: float = PATIENCE, lock: int = 0) -> None:
        self._url, self._patience, self._lock = url, patience, lock
        self._connection: _Timed | None = None
        self.in_transaction = False

    def connect(self) -> None:
        """Connect now instead of at the first statement.

        :raises sqlite3.OperationalError: no host of the list takes it.
        """
        with _errors():
            self._live()

    @property
    def connected(self) -> bool:
        return self._connection is not None and not self._connection.closed

    def execute(self, statement: Any, parameters: Parameters = ()) -> Any:
        """Run one statement, and return its cursor. SQLite's pragmas do nothing."""
        if statement.startswith("PRAGMA"):
            return _NOTHING
        if statement in ("COMMIT", "ROLLBACK"):
            return self._end(statement)
        with _errors():
            cursor = self._live().cursor()
            if statement.startswith("BEGIN"):
                cursor.execute("BEGIN")
                self.in_transaction = True
                if self._lock:
                    cursor.execute("SELECT pg_advisory_xact_lock(%s)", (self._lock,))
                return cursor
            statement = translated(statement)
            return cursor.execute(statement, _clean(parameters) or None)

    def executemany(self, statement: Any, rows: Iterable[Parameters]) -> None:
        """Run a statement for each row, in the order of the rows, many in one round trip.

        All machines lock rows in the same order, so that none waits for another in a circle.
        """
        with _errors():
            cursor = cast(psycopg.ClientCursor[Any], self._live().cursor())
            statement = translated(statement)
            texts = sorted(cursor.mogrify(statement, _clean(row)) for row in rows)
            for first in range(0, len(texts), _TOGETHER):
                step: Any = ";".join(texts[first : first + _TOGETHER])
                cursor.execute(step)

    def executescript(self, step: Any) -> None:
        """Run a script. SQLite's pragmas do nothing."""
        if not step.startswith("PRAGMA"):
            with _errors():
                self._live().execute(step)

    def keep_others_out(self) -> None:
        """Let no other process write charges until the transaction ends."""
        self.execute("LOCK TABLE charge IN SHARE ROW EXCLUSIVE MODE")

    def size(self) -> int:
        """The size of the charges, bytes."""
        return int(self.execute("SELECT pg_total_relation_size('charge')").fetchone()[0])

    def close(self) -> None:
        connection, self._connection = self._connection, None
        self.in_transaction = False
        if connection is not None:
            connection.close()

    def _end(self, statement: Any) -> Any:
        self.in_transaction = False
        if statement == "ROLLBACK" and not self.connected:
            return _NOTHING
        with _errors():
            if not self.connected:
                raise psycopg.OperationalError("the connection ended before the commit")
            assert self._connection is not None
            return self._connection.execute(statement)

    def _live(self) -> _Timed:
        if self.connected:
            assert self._connection is not None
            return self._connection
        if self.in_transaction:
            raise psycopg.OperationalError("the connection ended within a transaction")
        made = _Timed.connect(
            self._url,
            autocommit=True,
            cursor_factory=psycopg.ClientCursor,
            connect_timeout=CONNECTING,
            application_name="flask-gateway",
        )
        made.patience = self._patience
        made.adapters.register_dumper(bool, IntDumper)
        made.adapters.register_loader("numeric", IntLoader)  # every sum is one of whole numbers
        made.execute("SET statement_timeout = '2s'")
        self._connection = made
        return made


class _NoRows:
    """Stands for the cursor of a statement that PostgreSQL does not need."""

    rowcount = 0

    def fetchall(self) -> list[Any]:
        return []

    def fetchone(self) -> None:
        return None


_NOTHING = _NoRows()


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except psycopg.IntegrityError as error:
        raise sqlite3.IntegrityError(_text(error)) from error
    except (psycopg.Error, OSError) as error:
        raise sqlite3.OperationalError(_text(error)) from error


def _text(error: Exception) -> str:
    """The first line of an error, without the password of a URL that cannot be parsed."""
    if isinstance(error, psycopg.ProgrammingError) and error.sqlstate is None:
        return "PostgreSQL: the URL cannot be used"
    return f"PostgreSQL: {str(error).partition(chr(10))[0] or type(error).__name__}"


def opened(url: str, patience: float = PATIENCE, lock: int = 0) -> sqlite3.Connection:
    """Return a connection that is made at its first statement.

    It stands in for one of ``sqlite3`` in everything that ledger and keys do.
    """
    return cast(sqlite3.Connection, PostgresConnection(url, patience, lock))


def migrate(connection: sqlite3.Connection, package: str, part: str, error: type[Exception]) -> None:
    """Bring the tables of a part up to date. Machines that start together take turns.

    :param package: has the steps, numbered files, in its folder ``postgres_sql``.
    :raises Exception: ``error``, if the tables are of a newer version.
    """
    folder = files(package).joinpath("postgres_sql")
    steps = [entry.read_text() for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)]
    connection.execute("BEGIN")
    try:
        connection.execute("SELECT pg_advisory_xact_lock(?)", (_MIGRATION_LOCK,))
        connection.execute(
            "CREATE TABLE IF NOT EXISTS gateway_version (part TEXT PRIMARY KEY, number INTEGER NOT NULL)"
        )
        row = connection.execute("SELECT number FROM gateway_version WHERE part = ?", (part,)).fetchone()
        version = row[0] if row else 0
        if version > len(steps):
            raise error(
                f"the tables of {part} in PostgreSQL are of version {version}, and this gateway knows "
                f"{len(steps)}. Install the version that wrote them, or restore a backup."
            )
        for step in steps[version:]:
            connection.executescript(step)
        connection.execute(
            "INSERT INTO gateway_version (part, number) VALUES (?, ?) "
            "ON CONFLICT (part) DO UPDATE SET number = excluded.number",
            (part, len(steps)),
        )
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def is_away(url: str) -> str:
    """Return why no connection is possible; empty if one is. For ``doctor`` and the start."""
    connection, began = PostgresConnection(url), time.monotonic()
    try:
        connection.connect()
        connection.execute("SELECT 1")
    except sqlite3.Error as error:
        return f"{error} (after {time.monotonic() - began:.1f} s)"
    finally:
        connection.close()
    return ""
