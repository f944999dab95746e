"""Computes sums of the ledger again, and prices charges whose price was unknown. Only the writer does so."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from ..model.calendar_windows import Calendar, Window
from ..model.units import Units
from . import database
from .lines import Settled
from .posting import Batch, Place, bucket_of, owner, subjects

_COLUMNS = """
SELECT at, journal, offset, id, leg, key, team, user, model, upstream, upstream_model, source, status, input,
    cached, output, units, rates, cost
FROM charge ORDER BY at, journal, offset
"""
_UNPRICED = """
SELECT at, journal, offset, id, leg, key, team, user, model, upstream, upstream_model, source, status, input,
    cached, output, units, rates, cost
FROM charge WHERE cost IS NULL AND source <> 'lost' ORDER BY at, journal, offset
"""
#: Charges of one batch.
_ROWS = 1000


class Priced(NamedTuple):
    """The cost of a charge, nano-dollars, and the digest of its rates."""

    cost: int
    rates: str


#: Returns the price of a charge by upstream, its model, units and moment; ``None`` while it is unknown.
Price = Callable[[str, str, Units, float], Priced | None]


def rebuild(connection: sqlite3.Connection, calendar: Calendar) -> int:
    """Compute every sum but those by tag again from the charges, in this calendar. Return their number.

    :raises database.LedgerError: old charges have been deleted, so the sums know more than the charges.
    """
    if connection.execute("SELECT charges FROM pruned").fetchone()[0]:
        text = "old charges have been deleted, so their sums cannot be computed again. Nothing was changed."
        raise database.LedgerError(text)
    count = 0
    with database.alone(connection):
        connection.execute("DELETE FROM bucket")
        connection.execute("DELETE FROM user_day")
        connection.execute("DELETE FROM balance")
        for batch, rows in _batches(connection.execute(_COLUMNS), calendar):
            database.insert_sums(connection, batch)
            count += rows
    return count


def reprice(connection: sqlite3.Connection, calendar: Calendar, price: Price) -> tuple[int, int]:
    """Price the charges whose price was unknown. Return how many got one, and their cost, nano-dollars.

    Sums by tag stay as they are: charges do not keep their tags.
    """
    count = total = 0
    with database.alone(connection):
        for row in connection.execute(_UNPRICED).fetchall():
            line = _line(row)
            priced = price(line.upstream, line.upstream_model, line.units, line.at)
            if priced is not None:
                _set(connection, calendar, row[:3], line, priced)
                count, total = count + 1, total + priced.cost
    return count, total


def _set(
    connection: sqlite3.Connection,
    calendar: Calendar,
    place: tuple[int, int, int],
    line: Settled,
    priced: Priced,
) -> None:
    statement = "UPDATE charge SET cost = ?, rates = ? WHERE at = ? AND journal = ? AND offset = ?"
    connection.execute(statement, (*priced, *place))
    connection.execute(
        "UPDATE bucket SET cost = cost + ?, unpriced = unpriced - 1 WHERE hour = ? AND key = ? AND team = ? "
        "AND model = ? AND upstream = ? AND source = ?",
        (priced.cost, *bucket_of(line, calendar)),
    )
    starts = calendar.starts(line.at)
    if line.user:
        statement = "UPDATE user_day SET cost = cost + ? WHERE day = ? AND owner = ? AND user = ?"
        connection.execute(statement, (priced.cost, starts.day, owner(line), line.user))
    connection.executemany(
        "UPDATE balance SET cost = cost + ? WHERE subject = ? AND window = ? AND start = ?",
        [
            (priced.cost, subject, window, start)
            for subject in subjects(line)
            for window, start in zip(Window, starts, strict=True)
        ],
    )


def _batches(cursor: sqlite3.Cursor, calendar: Calendar) -> Iterator[tuple[Batch, int]]:
    while rows := cursor.fetchmany(_ROWS):
        batch = Batch(calendar)
        for row in rows:
            batch.add(_line(row), Place(row[1], row[2]))
        yield batch, len(rows)


def _line(row: tuple[object, ...]) -> Settled:
    """The settled leg of a charge, without its tags."""
    at, _, _, id_, leg, key, team, user, model, upstream, asked, source, status, *counts = row
    read, cached, written, units, rates, cost = counts
    fields = {
        "n": 0,
        "id": id_,
        "at": at,
        "leg": leg,
        "key": key,
        "team": team,
        "user": user,
        "model": model,
        "upstream": upstream,
        "upstream_model": asked,
        "source": source,
        "status": status,
        "rates": rates,
        "cost": cost,
        "units": {"input": read, "cached": cached, "output": written, **_decoded(units)},
    }
    return msgspec.convert(fields, Settled)


def _decoded(units: object) -> dict[str, int]:
    return msgspec.json.decode(str(units), type=dict[str, int]) if units else {}
