"""Deletes old rows of the ledger in small steps, oldest first, and gives their pages back to the disk.

Charges are kept for so many days, and for so many bytes of database, whichever is less. Their sums last
longer: sums by tag and balances for 400 days, sums by end user for 90. After 400 days the sums by hour become
sums by day, which are kept for 5 years. The total of each subject stays for ever.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from ..model.calendar_windows import Calendar
from . import database

#: Days that single charges are kept by default, and the size of the database beyond which the oldest go.
CHARGE_DAYS, MOST_BYTES = 30, 1024**3
#: Days that sums are kept.
SUM_DAYS, USER_DAYS, DAY_DAYS = 400, 90, 5 * 365
#: Rows of one step.
_ROWS = 1000
_DAY = 86400

_CHARGES = """
DELETE FROM charge WHERE (at, journal, offset) IN
    (SELECT at, journal, offset FROM charge WHERE at < ? ORDER BY at, journal, offset LIMIT ?)
"""
_OLDEST = """
DELETE FROM charge WHERE (at, journal, offset) IN
    (SELECT at, journal, offset FROM charge ORDER BY at, journal, offset LIMIT ?)
"""
_OLD_BUCKETS = """
SELECT hour, key, team, model, upstream, source, calls, legs, unpriced, input, cached, output, cost
FROM bucket WHERE hour < ? ORDER BY hour, key, team, model, upstream, source LIMIT ?
"""
_BUCKET = """
DELETE FROM bucket WHERE hour = ? AND key = ? AND team = ? AND model = ? AND upstream = ? AND source = ?
"""
_ADD_DAY = """
INSERT INTO day (day, key, team, model, upstream, source, calls, legs, unpriced, input, cached, output, cost)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (day, key, team, model, upstream, source) DO UPDATE SET
    calls = day.calls + excluded.calls, legs = day.legs + excluded.legs,
    unpriced = day.unpriced + excluded.unpriced, input = day.input + excluded.input,
    cached = day.cached + excluded.cached,
    output = day.output + excluded.output, cost = day.cost + excluded.cost
"""
_ALERTS = "DELETE FROM alert WHERE at < ?"
_DAYS = """
DELETE FROM day WHERE (day, key, team, model, upstream, source) IN
    (SELECT day, key, team, model, upstream, source FROM day WHERE day < ? ORDER BY day LIMIT ?)
"""
_TAGS = """
DELETE FROM tag_day WHERE (day, tag, value) IN
    (SELECT day, tag, value FROM tag_day WHERE day < ? ORDER BY day LIMIT ?)
"""
_USERS = """
DELETE FROM user_day WHERE (day, owner, user) IN
    (SELECT day, owner, user FROM user_day WHERE day < ? ORDER BY day LIMIT ?)
"""
_BALANCES = """
DELETE FROM balance WHERE (subject, window, start) IN
    (SELECT subject, window, start FROM balance WHERE window <> 'total' AND start < ? LIMIT ?)
"""


class Kept(NamedTuple):
    """How much of the charges is kept."""

    days: int = CHARGE_DAYS
    bytes: int = MOST_BYTES


def prune_step(
    connection: sqlite3.Connection, kept: Kept, now: float, calendar: Calendar, *, at_once: bool = False
) -> int:
    """Delete at most a thousand rows of each table, in one transaction. Return how many; 0: all is done.

    Ages are judged by a moment that moves by a day each time that all is done: a clock that is set a
    year ahead by mistake does not delete a year.

    :param now: epoch seconds. :param calendar: the time zone of sums by day.
    :param at_once: judge by ``now``, as the operator wishes.
    """
    (reached,) = connection.execute("SELECT reached FROM pruned").fetchone()
    moment = int(now) if at_once or not reached else min(int(now), reached + _DAY)
    with database.alone(connection):
        deleted = _delete(connection, kept, moment, calendar)
        if not deleted and _bytes(connection) > kept.bytes:
            deleted = connection.execute(_OLDEST, (_ROWS,)).rowcount
        if deleted:
            connection.execute("UPDATE pruned SET charges = 1")
        else:
            connection.execute("UPDATE pruned SET reached = ?", (moment,))
    # As a script: `execute` would take one step of it, which gives back one page.
    connection.executescript("PRAGMA incremental_vacuum(1000)")
    return deleted


def _delete(connection: sqlite3.Connection, kept: Kept, now: int, calendar: Calendar) -> int:
    deleted = connection.execute(_CHARGES, (now - kept.days * _DAY, _ROWS)).rowcount
    sums, users, days = (now - age * _DAY for age in (SUM_DAYS, USER_DAYS, DAY_DAYS))
    deleted += _roll_up(connection, sums, calendar)
    deleted += connection.execute(_TAGS, (sums, _ROWS)).rowcount
    deleted += connection.execute(_USERS, (users, _ROWS)).rowcount
    deleted += connection.execute(_DAYS, (days, _ROWS)).rowcount
    deleted += connection.execute(_ALERTS, (sums,)).rowcount
    return deleted + connection.execute(_BALANCES, (sums, _ROWS)).rowcount


def _roll_up(connection: sqlite3.Connection, before: int, calendar: Calendar) -> int:
    """Add old sums by hour to those of their day."""
    old = connection.execute(_OLD_BUCKETS, (before, _ROWS)).fetchall()
    connection.executemany(_ADD_DAY, ((calendar.starts(hour).day, *rest) for hour, *rest in old))
    connection.executemany(_BUCKET, (row[:6] for row in old))
    return len(old)


def _bytes(connection: sqlite3.Connection) -> int:
    """The size of the database without its free pages."""
    if not database.is_local(connection):
        return int(connection.size())  # type: ignore[attr-defined]
    size = connection.execute("PRAGMA page_size").fetchone()[0]
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    free = connection.execute("PRAGMA freelist_count").fetchone()[0]
    return int(size * (pages - free))
