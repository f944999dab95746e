"""Opens the ledger's database and runs its statements. All SQL is constant text with parameters.

One process writes: the holder of ``bookkeeper.lock``. Every other connection is for reading, and never runs a
checkpoint: SQLite before 3.51.3 can corrupt a WAL database when two connections write or checkpoint at the
same moment (https://www.sqlite.org/wal.html#walresetbug), and Debian 12 and 13 ship older ones.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from .lines import Alerted, Opened
from .posting import Batch, Sums
from .sqlite_file import connect, pending_steps

#: For packages that do not import sqlite3.
Connection = sqlite3.Connection
#: The version of SQLite.
VERSION = sqlite3.sqlite_version
#: The name of the database in the data directory.
NAME = "ledger.db"
#: How long a statement waits for a lock that another connection holds, milliseconds.
_BUSY_MILLISECONDS = 2000

_CHARGE = """
INSERT INTO charge (at, journal, offset, id, leg, key, team, user, model, upstream, upstream_model, source,
    status, input, cached, output, units, rates, cost)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_BUCKET = """
INSERT INTO bucket
    (hour, key, team, model, upstream, source, calls, legs, unpriced, input, cached, output, cost)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (hour, key, team, model, upstream, source) DO UPDATE SET
    calls = bucket.calls + excluded.calls, legs = bucket.legs + excluded.legs,
    unpriced = bucket.unpriced + excluded.unpriced, input = bucket.input + excluded.input,
    cached = bucket.cached + excluded.cached,
    output = bucket.output + excluded.output, cost = bucket.cost + excluded.cost
"""
_TAG_DAY = """
INSERT INTO tag_day (day, tag, value, calls, input, output, cost) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (day, tag, value) DO UPDATE SET calls = tag_day.calls + excluded.calls,
    input = tag_day.input + excluded.input, output = tag_day.output + excluded.output,
    cost = tag_day.cost + excluded.cost
"""
_USER_DAY = """
INSERT INTO user_day (day, owner, user, calls, input, output, cost) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (day, owner, user) DO UPDATE SET calls = user_day.calls + excluded.calls,
    input = user_day.input + excluded.input, output = user_day.output + excluded.output,
    cost = user_day.cost + excluded.cost
"""
_BALANCE = """
INSERT INTO balance (subject, window, start, cost, calls) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (subject, window, start) DO UPDATE SET
    cost = balance.cost + excluded.cost, calls = balance.calls + excluded.calls
"""
_DUE = """
SELECT at, subject, window, start, share, used, amount FROM alert WHERE posted = 0 AND at >= :since
ORDER BY at LIMIT :limit
"""
_TAKE_DUE = """
UPDATE alert SET posted = 2 WHERE (subject, window, start, share) IN (
    SELECT subject, window, start, share FROM alert WHERE posted = 0 AND at >= :since
    ORDER BY at LIMIT :limit FOR UPDATE SKIP LOCKED
) RETURNING at, subject, window, start, share, used, amount
"""


class LedgerError(Exception):
    """The ledger's database cannot be used. The text says why, and what to do."""


def write(path: Path) -> sqlite3.Connection:
    """Open the database for the one process that writes, and bring its tables up to date.

    :raises LedgerError: it is of a newer version, or is no database.
    :raises sqlite3.Error: the disk refuses, or another process holds the database.
    """
    path.touch(mode=0o600, exist_ok=True)
    connection = _connect(path)
    try:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        # A MiB of WAL, where the default is four: on a small disk the WAL must leave room for the database.
        connection.execute("PRAGMA wal_autocheckpoint = 250")
        _migrate(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def read(path: Path) -> sqlite3.Connection:
    """Open the database for reading. The connection may move between threads, one at a time.

    :raises sqlite3.Error: there is none.
    """
    connection = _connect(path)
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    return connection


def _connect(path: Path) -> sqlite3.Connection:
    connection = connect(path, _BUSY_MILLISECONDS / 1000)
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    _, steps = pending_steps(connection, path, __package__, LedgerError)
    for step in steps:
        connection.executescript(step)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit at the end, or roll back where an exception leaves the block."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


@contextmanager
def alone(connection: sqlite3.Connection) -> Iterator[None]:
    """A transaction during which no other machine writes charges."""
    with transaction(connection):
        if not is_local(connection):
            connection.keep_others_out()  # type: ignore[attr-defined]
        yield


def is_local(connection: sqlite3.Connection) -> bool:
    """Whether the connection is one to SQLite, so that no other machine writes there."""
    return not hasattr(connection, "keep_others_out")


def make_room(connection: sqlite3.Connection) -> None:
    """Move the WAL into the database and cut it to nothing. On a full disk this may free enough to go on.

    :raises sqlite3.Error: there is no room even for that, or somebody reads or writes now.
    """
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def insert(connection: sqlite3.Connection, batch: Batch) -> None:
    """Write the rows of a batch. The caller has begun the transaction."""
    connection.executemany(_CHARGE, batch.charges)
    insert_sums(connection, batch)


def insert_sums(connection: sqlite3.Connection, batch: Batch) -> None:
    """Add the sums of a batch. The caller has begun the transaction."""
    connection.executemany(_BUCKET, ((*group, *_all(sums)) for group, sums in batch.buckets.items()))
    connection.executemany(_TAG_DAY, ((*group, *_some(sums)) for group, sums in batch.tag_days.items()))
    connection.executemany(_USER_DAY, ((*group, *_some(sums)) for group, sums in batch.user_days.items()))
    connection.executemany(
        _BALANCE, ((*group, sums.cost, sums.calls) for group, sums in batch.balances.items())
    )


def _all(sums: Sums) -> tuple[int, ...]:
    return (sums.calls, sums.legs, sums.unpriced, sums.input, sums.cached, sums.output, sums.cost)


def _some(sums: Sums) -> tuple[int, ...]:
    return (sums.calls, sums.input, sums.output, sums.cost)


def place(connection: sqlite3.Connection, name: str) -> tuple[int, int]:
    """Return the number of a journal and the offset up to which it has been read."""
    known = connection.execute("SELECT number, place FROM journal WHERE name = ?", (name,)).fetchone()
    if known is None:
        added = connection.execute(
            "INSERT INTO journal (name, place, damaged) VALUES (?, 0, 0) RETURNING number", (name,)
        )
        return int(added.fetchone()[0]), 0
    number, offset = known
    return number, offset


def places(connection: sqlite3.Connection) -> dict[str, int]:
    """Return the journals by name, each with how many bytes of it have been read."""
    return dict(connection.execute("SELECT name, place FROM journal").fetchall())


def move(connection: sqlite3.Connection, number: int, offset: int, damaged: int) -> None:
    """Note how far a journal has been read, and how many of its lines were damaged."""
    connection.execute(
        "UPDATE journal SET place = ?, damaged = damaged + ? WHERE number = ?", (offset, damaged, number)
    )


def forget(connection: sqlite3.Connection, name: str) -> None:
    """Forget a journal whose file is deleted. No later journal gets its number."""
    connection.execute("DELETE FROM journal WHERE name = ?", (name,))


def open_calls(connection: sqlite3.Connection, worker: str, opened: Iterable[Opened]) -> None:
    """Note calls of a worker that were admitted."""
    connection.executemany(
        "INSERT INTO in_flight (worker, n, line) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        ((worker, line.n, msgspec.json.encode(line)) for line in opened),
    )


def end_calls(connection: sqlite3.Connection, worker: str, numbers: Iterable[int]) -> None:
    """Note that calls of a worker are settled."""
    connection.executemany(
        "DELETE FROM in_flight WHERE worker = ? AND n = ?", ((worker, number) for number in numbers)
    )


def calls_in_flight(connection: sqlite3.Connection, worker: str) -> list[Opened]:
    """Return the calls of a worker that are not settled."""
    rows = connection.execute("SELECT line FROM in_flight WHERE worker = ? ORDER BY n", (worker,))
    return [msgspec.json.decode(row[0], type=Opened) for row in rows.fetchall()]


def note_alerts(connection: sqlite3.Connection, alerts: Iterable[Alerted]) -> None:
    """Keep alerts, one for each subject, window and share. The caller has begun the transaction."""
    connection.executemany(
        "INSERT INTO alert (subject, window, start, share, at, used, amount) VALUES (?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT DO NOTHING",
        (
            (one.subject, one.window, one.start, one.share, int(one.at), one.used, one.amount)
            for one in alerts
        ),
    )


def alerts_to_post(connection: sqlite3.Connection, since: int, limit: int) -> list[Alerted]:
    """Return alerts that have not been posted, oldest first. :param since: epoch seconds.

    Of several machines the first that asks gets them. If it dies while it posts them, they are lost.
    """
    statement = _DUE if is_local(connection) else _TAKE_DUE
    rows = connection.execute(statement, {"since": since, "limit": limit})
    names = ("at", "subject", "window", "start", "share", "used", "amount")
    return [Alerted(**dict(zip(names, row, strict=True))) for row in rows.fetchall()]


def note_posted(connection: sqlite3.Connection, key: tuple[str, str, int, float], posted: bool) -> None:
    """Note that an alert has been posted, or given up."""
    statement = "UPDATE alert SET posted = ? WHERE subject = ? AND window = ? AND start = ? AND share = ?"
    connection.execute(statement, (1 if posted else 2, *key))


def balances(connection: sqlite3.Connection, subject: str, starts: Iterable[tuple[str, int]]) -> list[int]:
    """Return what a subject has used in each of the windows, nano-dollars.

    :param starts: the windows by kind, each with its start.
    """
    found = []
    for window, start in starts:
        row = connection.execute(
            "SELECT cost FROM balance WHERE subject = ? AND window = ? AND start = ?",
            (subject, window, start),
        ).fetchone()
        found.append(row[0] if row else 0)
    return found
