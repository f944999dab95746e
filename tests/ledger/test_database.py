"""The database of the ledger: files that are refused, one writer, and rows that come twice."""

from __future__ import annotations

import contextlib
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from kit.ledger_lines import CALENDAR, NOW, opened, settled

from flask_gateway.ledger import database
from flask_gateway.ledger.bookkeeper import Bookkeeper
from flask_gateway.ledger.journal import Journal
from flask_gateway.ledger.lines import Alerted


def keeper(data: Path) -> Bookkeeper:
    return Bookkeeper(data, CALENDAR, lambda: float(NOW))


def test_the_wal_leaves_room_on_a_small_disk(data: Path) -> None:
    journal = Journal(data / "journal")
    keep = keeper(data)
    for n in range(10_000):
        journal.write(settled(n, at=NOW + n * 3600))
    keep.turn()
    assert (data / f"{database.NAME}-wal").stat().st_size < 1_500_000
    database.make_room(keep.connection)
    assert (data / f"{database.NAME}-wal").stat().st_size == 0
    keep.close()


def test_a_database_of_a_newer_version_is_refused(data: Path) -> None:
    path = data / database.NAME
    with closing(database.write(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(database.LedgerError, match="version 99"):
        database.write(path)


def test_a_file_that_is_no_database_is_refused(data: Path) -> None:
    path = data / database.NAME
    path.write_bytes(b"x" * 4096)
    with pytest.raises(sqlite3.DatabaseError):
        database.write(path)


def test_a_reader_makes_no_database_and_writes_none(data: Path) -> None:
    path = data / database.NAME
    with pytest.raises(sqlite3.OperationalError):
        database.read(path)
    assert not path.exists()
    database.write(path).close()
    with closing(database.read(path)) as connection, pytest.raises(sqlite3.OperationalError):
        connection.execute("DELETE FROM balance")


def test_the_database_is_for_its_owner_alone(data: Path) -> None:
    database.write(data / database.NAME).close()
    assert (data / database.NAME).stat().st_mode & 0o777 == 0o600


def test_an_exception_rolls_a_transaction_back(data: Path) -> None:
    with closing(database.write(data / database.NAME)) as connection:
        with contextlib.suppress(ZeroDivisionError), database.transaction(connection):
            database.open_calls(connection, "w", [opened(1)])
            raise ZeroDivisionError
        assert database.calls_in_flight(connection, "w") == []


def test_a_call_that_is_opened_twice_is_one_until_it_ends(data: Path) -> None:
    with closing(database.write(data / database.NAME)) as connection:
        for _ in range(2):
            database.open_calls(connection, "w", [opened(2), opened(1)])
        database.open_calls(connection, "other", [opened(1)])
        assert database.calls_in_flight(connection, "w") == [opened(1), opened(2)]
        database.end_calls(connection, "w", [1, 7])
        assert database.calls_in_flight(connection, "w") == [opened(2)]
        assert database.calls_in_flight(connection, "other") == [opened(1)]


def test_no_later_journal_gets_the_number_of_a_deleted_one(data: Path) -> None:
    with closing(database.write(data / database.NAME)) as connection:
        first, _ = database.place(connection, "a")
        database.move(connection, first, 100, 2)
        assert database.place(connection, "a") == (first, 100)
        assert database.places(connection) == {"a": 100}
        database.forget(connection, "a")
        second, offset = database.place(connection, "b")
        assert (second > first, offset) == (True, 0)


def test_an_alert_is_kept_once_and_posted_once(data: Path) -> None:
    alert = Alerted(at=NOW, subject="key:a", window="day", start=NOW, share=0.8, used=8, amount=10)
    with closing(database.write(data / database.NAME)) as connection:
        for used in (8, 9):
            database.note_alerts(connection, [msgspec.structs.replace(alert, used=used)])
        assert database.alerts_to_post(connection, NOW + 1, 10) == []
        assert database.alerts_to_post(connection, NOW, 10) == [alert]
        database.note_posted(connection, ("key:a", "day", NOW, 0.8), posted=False)
        assert database.alerts_to_post(connection, NOW, 10) == []
