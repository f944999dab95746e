"""Old rows go in small steps, the disk gets its pages back, and totals stay."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC
from pathlib import Path

import pytest
from kit.ledger_lines import CALENDAR, NOW, settled

from flask_gateway.ledger import database
from flask_gateway.ledger.posting import Batch, Place
from flask_gateway.ledger.pruning import Kept, prune_step
from flask_gateway.ledger.reports import usage
from flask_gateway.model.calendar_windows import Calendar, zone

DAY = 86400


@pytest.fixture
def writing(data: Path) -> Iterator[sqlite3.Connection]:
    with closing(database.write(data / database.NAME)) as connection:
        yield connection


def post(connection: sqlite3.Connection, count: int, age: int) -> None:
    """So many charges of that age, days."""
    batch = Batch(CALENDAR)
    for n in range(count):
        line = settled(n, at=NOW - age * DAY, user="alice", tags={"env": "prod"})
        batch.add(line, Place(age, n))
    with database.transaction(connection):
        database.insert(connection, batch)


def count(connection: sqlite3.Connection, table: str) -> int:
    statements = {
        "charge": "SELECT count(*) FROM charge",
        "bucket": "SELECT count(*) FROM bucket",
        "user_day": "SELECT count(*) FROM user_day",
        "tag_day": "SELECT count(*) FROM tag_day",
        "balance": "SELECT count(*) FROM balance WHERE window <> 'total'",
    }
    (number,) = connection.execute(statements[table]).fetchone()
    return int(number)


def prune(connection: sqlite3.Connection, kept: Kept = Kept()) -> int:  # noqa: B008  # immutable
    steps = 0
    while prune_step(connection, kept, NOW, CALENDAR):
        steps += 1
    return steps


def test_each_table_is_kept_for_its_time(writing: sqlite3.Connection) -> None:
    for age in (0, 29, 31, 91, 401):
        post(writing, 2, age)
    prune(writing)
    assert count(writing, "charge") == 4
    assert count(writing, "bucket") == 4
    rolled = writing.execute("SELECT day, key, model, source, calls, input, cost FROM day").fetchall()
    assert rolled == [(NOW - 401 * DAY, "key_a", "m", "reported", 2, 20, 1)]
    assert usage(writing, ("key",), 0, NOW + DAY, UTC)[0]["calls"] == 10
    assert count(writing, "tag_day") == 4
    assert count(writing, "user_day") == 3
    assert (
        writing.execute("SELECT min(start) FROM balance WHERE window = 'day'").fetchone()[0] == NOW - 91 * DAY
    )
    totals = writing.execute("SELECT sum(calls) FROM balance WHERE window = 'total' AND subject = 'all'")
    assert totals.fetchone() == (10,)
    assert writing.execute("SELECT charges FROM pruned").fetchone() == (1,)


def test_a_step_deletes_a_thousand_rows_and_gives_back_their_pages(writing: sqlite3.Connection) -> None:
    post(writing, 2500, 40)
    before = writing.execute("PRAGMA page_count").fetchone()[0]
    assert prune_step(writing, Kept(), NOW, CALENDAR) == 1000
    assert prune(writing) == 2
    assert count(writing, "charge") == 0
    assert writing.execute("PRAGMA page_count").fetchone()[0] < before / 4
    assert writing.execute("PRAGMA freelist_count").fetchone()[0] == 0


def test_the_oldest_charges_go_when_the_database_is_too_large(writing: sqlite3.Connection) -> None:
    for age in (1, 2, 3):
        post(writing, 1000, age)
    prune_step(writing, Kept(bytes=200_000), NOW, CALENDAR)
    assert writing.execute("SELECT min(at) FROM charge").fetchone()[0] == NOW - 2 * DAY
    assert count(writing, "bucket") == 3


def test_nothing_old_is_nothing_to_do(writing: sqlite3.Connection) -> None:
    post(writing, 3, 1)
    assert prune(writing) == 0
    assert writing.execute("SELECT charges FROM pruned").fetchone() == (0,)


def test_a_clock_that_is_a_year_ahead_deletes_no_year(writing: sqlite3.Connection) -> None:
    for age in (1, 28):
        post(writing, 2, age)
    prune(writing)
    year = NOW + 365 * DAY
    assert prune_step(writing, Kept(), year, CALENDAR) == 0  # a day more, at which nothing is old yet
    assert prune_step(writing, Kept(), NOW + 60, CALENDAR) == 0  # the clock is right again
    assert count(writing, "charge") == 4
    assert prune_step(writing, Kept(), year, CALENDAR) == 0
    assert prune_step(writing, Kept(), year, CALENDAR) > 0  # three days are as if three hours had passed
    assert count(writing, "charge") == 2
    while prune_step(writing, Kept(), year, CALENDAR, at_once=True):  # `ledger prune` does this
        pass
    assert count(writing, "charge") == 0


def test_hours_become_days_of_the_time_zone(writing: sqlite3.Connection) -> None:
    berlin = Calendar(zone("Europe/Berlin"))
    batch = Batch(berlin)
    evening = NOW - 401 * DAY + 22 * 3600  # 2025-10-22 in UTC, and the day after in Berlin
    for place, at in enumerate((evening - 3600, evening, evening + 3600)):
        batch.add(settled(1, at=at), Place(1, place))
    with database.transaction(writing):
        database.insert(writing, batch)
    while prune_step(writing, Kept(), NOW, berlin):
        pass
    days = writing.execute("SELECT day, calls FROM day ORDER BY day").fetchall()
    assert days == [(evening - DAY, 1), (evening, 2)]
