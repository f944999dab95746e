"""Deletes old rows of the ledger in small steps, oldest first, and gives their pages back to the disk.

Charges are kept for so many days, and for so many bytes of database, whichever is less. Their sums last
longer: sums by hour, by tag and balances for 400 days, sums by end user for 90. The total of each subject
stays for ever.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from . import database

#: Days that single charges are kept by default, and the size of the database beyond which the oldest go.
CHARGE_DAYS, MOST_BYTES = 30, 1024**3
#: Days that sums are kept.
SUM_DAYS, USER_DAYS = 400, 90
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
_BUCKETS = """
DELETE FROM bucket WHERE (hour, key, team, model, upstream, source) IN
    (SELECT hour, key, team, model, upstream, source FROM bucket WHERE hour < ? ORDER BY hour LIMIT ?)
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


def prune_step(connection: sqlite3.Connection, kept: Kept, now: float) -> int:
    """Delete at most a thousand rows of each table, in one transaction. Return how many; 0: all is done.

    :param now: epoch seconds.
    """
    with database.transaction(connection):
        deleted = _delete(connection, kept, now)
        if not deleted and _bytes(connection) > kept.bytes:
            deleted = connection.execute(_OLDEST, (_ROWS,)).rowcount
        if deleted:
            connection.execute("UPDATE pruned SET charges = 1")
    # As a script: `execute` would take one step of it, which gives back one page.
    connection.executescript("PRAGMA incremental_vacuum(1000)")
    return deleted


def _delete(connection: sqlite3.Connection, kept: Kept, now: float) -> int:
    deleted = connection.execute(_CHARGES, (int(now - kept.days * _DAY), _ROWS)).rowcount
    sums, users = int(now - SUM_DAYS * _DAY), int(now - USER_DAYS * _DAY)
    deleted += connection.execute(_BUCKETS, (sums, _ROWS)).rowcount
    deleted += connection.execute(_TAGS, (sums, _ROWS)).rowcount
    deleted += connection.execute(_USERS, (users, _ROWS)).rowcount
    return deleted + connection.execute(_BALANCES, (sums, _ROWS)).rowcount


def _bytes(connection: sqlite3.Connection) -> int:
    """The size of the database without its free pages."""
    size = connection.execute("PRAGMA page_size").fetchone()[0]
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    free = connection.execute("PRAGMA freelist_count").fetchone()[0]
    return int(size * (pages - free))
