"""The ledger in PostgreSQL: trouble first, then the same rows and reports as in SQLite."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from kit.ledger_lines import CALENDAR, NOW, opened, settled
from kit.postgres import PostgresServer
from kit.tls import make_certificate

from flask_gateway.ledger import database, reports
from flask_gateway.ledger.bookkeeper import Bookkeeper, Progress
from flask_gateway.ledger.journal import Journal
from flask_gateway.ledger.lines import Alerted
from flask_gateway.ledger.places import LedgerPlace, LocalLedger, PostgresLedger
from flask_gateway.ledger.postgres import PostgresConnection, is_away, migrate, translated
from flask_gateway.ledger.pruning import Kept, prune_step
from flask_gateway.ledger.repair import Priced, rebuild, reprice
from flask_gateway.model.units import Units

DAYS = (NOW - 86400, NOW + 86400)


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, data: Path) -> LedgerPlace:
    if request.param == "sqlite":
        return LocalLedger(data)
    return PostgresLedger(request.getfixturevalue("postgres_url"))


@pytest.fixture
def keeper(place: LedgerPlace, data: Path) -> Iterator[Bookkeeper]:
    made = Bookkeeper(data, CALENDAR, lambda: float(NOW), place=place)
    yield made
    made.close()


def rows(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
    return connection.execute("SELECT id, leg, cost, source FROM charge ORDER BY id, leg").fetchall()


# ---------------------------------------------------------------- trouble


def test_a_frozen_server_is_an_error_within_its_patience_and_recovers(
    postgres_server: PostgresServer,
) -> None:
    server = postgres_server
    with closing(PostgresConnection(server.url, patience=0.2)) as connection:
        connection.execute("SELECT 1")
        server.freeze()
        began = time.monotonic()
        with pytest.raises(sqlite3.OperationalError, match=r"no answer within 0\.2 s"):
            connection.execute("SELECT 1")
        assert time.monotonic() - began < 5
        server.thaw()
        assert connection.execute("SELECT 1").fetchall() == [(1,)]
        connection.execute("BEGIN")
        server.kill()
        for statement in ("SELECT 1", "SELECT 1", "COMMIT"):  # never outside its transaction
            with pytest.raises(sqlite3.OperationalError):
                connection.execute(statement)
        connection.execute("ROLLBACK")
        server.start()
        assert connection.execute("SELECT 1").fetchall() == [(1,)]
    assert is_away(server.url) == ""
    assert "PostgreSQL" in is_away("postgresql://postgres@127.0.0.1:1/x")


def test_no_error_has_the_password() -> None:
    for url in ("postgresql://gateway:hunter2@127.0.0.1:1/x", "postgresql://u:hunter2@[::1/x?y=z"):
        with pytest.raises(sqlite3.OperationalError) as caught:
            PostgresConnection(url).connect()
        assert "hunter2" not in str(caught.value)


def test_a_line_with_odd_text_does_not_stop_the_books(keeper: Bookkeeper, data: Path) -> None:
    journal = Journal(data / "journal")
    journal.write(settled(1, user="a\0b", model="100% 'x' ? :y", tags={"env": "p\0"}))
    assert keeper.turn() == Progress(1, 0, 0)
    assert [row[0] for row in rows(keeper.connection)] == ["call-1"]
    journal.close()


def test_a_newer_schema_is_refused(postgres_url: str) -> None:
    with closing(PostgresLedger(postgres_url).write()) as connection:
        connection.execute("UPDATE gateway_version SET number = 99")
        with pytest.raises(database.LedgerError, match="version 99"):
            migrate(connection, "flask_gateway.ledger", "ledger", database.LedgerError)


def test_a_bookkeeper_whose_commit_was_lost_posts_once(
    postgres_url: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server has committed, and the connection ends before the answer: the place says so."""
    journal = Journal(data / "journal")
    keeper = Bookkeeper(data, CALENDAR, lambda: float(NOW), place=PostgresLedger(postgres_url))
    connection: Any = keeper.connection
    journal.write(settled(1))
    end, lost = connection._end, [1]

    def committed_and_gone(statement: str) -> Any:
        end(statement)
        if statement == "COMMIT" and lost:
            lost.pop()
            connection._connection.close()
            raise sqlite3.OperationalError("gone")

    monkeypatch.setattr(connection, "_end", committed_and_gone)
    with pytest.raises(sqlite3.OperationalError):
        keeper.turn()
    journal.write(settled(2))
    keeper.turn()
    assert [row[0] for row in rows(connection)] == ["call-1", "call-2"]
    assert database.balances(connection, "all", [("total", 0)]) == [3]
    keeper.close()
    journal.close()


def test_tls_is_checked_and_the_next_host_is_asked(
    tmp_path: Path, postgres_server: PostgresServer, postgres_url: str
) -> None:
    """By libpq's own parameters: ``sslmode``, ``sslrootcert``, a list of hosts, ``target_session_attrs``."""
    certificate = postgres_server.with_tls(make_certificate(tmp_path))
    hosts = f"127.0.0.1:1,127.0.0.1:{postgres_server.port}"
    listed = postgres_url.replace(f"127.0.0.1:{postgres_server.port}", hosts)
    trusted = f"{listed}?sslmode=verify-full&target_session_attrs=read-write&sslrootcert={certificate}"
    with closing(PostgresConnection(trusted)) as connection:
        statement = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        assert connection.execute(statement).fetchall() == [(True,)]
    strange = trusted.replace(str(certificate), str(tmp_path / "none.pem"))
    assert "PostgreSQL" in is_away(strange)


# ---------------------------------------------------------------- the same in both


def test_lines_become_rows_sums_and_reports(keeper: Bookkeeper, data: Path) -> None:
    journal, connection = Journal(data / "journal"), keeper.connection
    for n in range(1, 301):
        journal.write(opened(n))
        more = {"team": "search", "user": "alice", "tags": {"env": "prod"}} if n % 2 else {}
        journal.write(settled(n, **more))
    journal.write(settled(301, cost=None, units=Units(input=7, output=1, searches=2)))
    assert keeper.turn() == Progress(601, 0, 0)
    assert keeper.turn() == Progress()
    assert len(rows(connection)) == 301
    assert list(reports.disagreements(connection)) == []
    assert database.balances(connection, "all", [("day", NOW), ("total", 0), ("day", 5)]) == [45150, 45150, 0]
    (row,) = reports.usage(connection, ("day", "key"), *DAYS, UTC)
    assert (row["calls"], row["cost"], row["unpriced"]) == (301, "0.000045150", 1)
    (users,) = reports.usage(connection, ("user",), *DAYS, UTC)
    assert (users["user"], users["calls"]) == ("search/alice", 150)
    (tags,) = reports.usage(connection, ("tag",), *DAYS, UTC)
    assert (tags["tag"], tags["cost"]) == ("env=prod", "0.000022500")
    assert [one["id"] for one in reports.charges(connection, request_id="call-7")] == ["call-7"]
    assert len(reports.charges(connection, key="key_a", limit=10)) == 10
    spent = reports.spend(connection, ["team:search", "nobody"], CALENDAR.starts(NOW))
    assert spent["team:search"]["total"] == "0.000022500"
    assert reports.end_users(connection, "", "", 10) == [("search", "alice")]
    assert reports.unpriced(connection) == [("up", "", 1)]
    journal.close()


def test_lost_calls_repairs_and_pruning(keeper: Bookkeeper, data: Path) -> None:
    journal, connection = Journal(data / "journal"), keeper.connection
    for n in range(1, 6):
        journal.write(settled(n, cost=None if n == 5 else n, user="ann"))
    journal.write(opened(9))
    keeper.turn()
    journal.close()
    assert keeper.turn().lost == 1
    assert reprice(connection, CALENDAR, lambda *_: Priced(90, "r")) == (1, 90)
    assert rebuild(connection, CALENDAR) == 6
    assert list(reports.disagreements(connection)) == []
    assert database.balances(connection, "all", [("total", 0)]) == [100]
    assert keeper.prune(Kept(1, 0)) == 6  # the size alone
    later = NOW + 500 * 86400
    while prune_step(connection, Kept(1, 10**9), later, CALENDAR, at_once=True):
        pass
    assert rows(connection) == []
    assert database.balances(connection, "all", [("total", 0), ("day", NOW)]) == [100, 0]
    (row,) = reports.usage(connection, ("key",), *DAYS, UTC)
    assert (row["calls"], row["cost"]) == (6, "0.000000100")


def test_an_alert_is_posted_by_one_machine(place: LedgerPlace) -> None:
    alert = Alerted(at=NOW, subject="all", window="day", start=NOW, share=0.8, used=8, amount=10)
    with closing(place.write()) as connection:
        for _ in range(2):
            with database.transaction(connection):
                database.note_alerts(connection, [alert])
        assert database.alerts_to_post(connection, NOW - 9, 10) == [alert]
        again = [] if isinstance(place, PostgresLedger) else [alert]
        assert database.alerts_to_post(connection, NOW - 9, 10) == again
        database.note_posted(connection, ("all", "day", NOW, 0.8), posted=True)
        assert database.alerts_to_post(connection, NOW - 9, 10) == []


def test_three_machines_post_at_once_without_doubles(postgres_url: str, tmp_path: Path) -> None:
    """Their batches change the same sums, in whatever order: no deadlock, no lost update."""

    def machine(number: int) -> None:
        data = tmp_path / str(number)
        (data / "journal").mkdir(parents=True)
        journal = Journal(data / "journal")
        keeper = Bookkeeper(data, CALENDAR, lambda: float(NOW), place=PostgresLedger(postgres_url))
        for n in range(1, 201):
            journal.write(settled(n, id=f"{number}-{n}", key=f"key_{n % 7}", model=f"m{(n * number) % 5}"))
            if n % 20 == 0:
                keeper.turn()
        keeper.close()
        journal.close()
        done.append(number)

    done: list[int] = []
    threads = [threading.Thread(target=machine, args=(number,)) for number in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with closing(PostgresLedger(postgres_url).read()) as connection:
        assert (len(done), len({row[0] for row in rows(connection)}), len(rows(connection))) == (3, 600, 600)
        assert database.balances(connection, "all", [("total", 0)]) == [3 * 200 * 201 // 2]
        assert list(reports.disagreements(connection)) == []


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (
            "SELECT user FROM t WHERE a = ? AND b = :name",
            'SELECT "user" FROM t WHERE a = %s AND b = %(name)s',
        ),
        ("SELECT '50 % of user?' || x", "SELECT '50 %% of user?' || x"),
        ("BEGIN IMMEDIATE", "BEGIN"),
        ("SELECT user_day.user FROM user_day", 'SELECT user_day."user" FROM user_day'),
    ],
)
def test_statements_are_translated(theirs: str, ours: str) -> None:
    assert translated(theirs) == ours
