"""The ledger of a process: one keeps the books, another takes over, and calls meet no trouble of the disk."""

from __future__ import annotations

import math
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from kit.ledger_figures import NotedFigures, books_in
from kit.ledger_lines import opened, settled
from kit.waiting import until

from flask_gateway.ledger import books as module
from flask_gateway.ledger import database
from flask_gateway.ledger.bookkeeper import Progress
from flask_gateway.ledger.books import Books
from flask_gateway.ledger.maintenance import REQUEST

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _tries_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TRY", 0.0)


def ids(books: Books) -> list[str]:
    with closing(database.read(books.data / database.NAME)) as connection:
        return [row[0] for row in connection.execute("SELECT id FROM charge ORDER BY id")]


def test_the_directory_is_made_for_the_owner_alone(tmp_path: Path) -> None:
    books = books_in(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    assert books.turn() == Progress()
    assert (books.data / database.NAME).stat().st_mode & 0o777 == 0o600
    books.close()


def test_one_process_keeps_the_books_of_all_and_another_takes_over(tmp_path: Path) -> None:
    first, second = books_in(tmp_path), books_in(tmp_path)
    second.journal.write(settled(1))
    assert first.turn().lines == 1
    assert second.turn() == Progress()
    assert (first.keeps, second.keeps) == (True, False)
    first.journal.write(settled(2))
    first.close()  # what the end of the process does
    assert second.turn().lines == 1
    assert ids(second) == ["call-1", "call-2"]
    second.close()


def test_without_news_a_turn_is_rare_and_sees_that_a_worker_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUIET", 1000.0)
    turns, books, other = list[Progress](), books_in(tmp_path), books_in(tmp_path)
    books.turn()
    keeper = books._bookkeeper
    assert keeper is not None
    real = keeper.turn

    def turn() -> Progress:
        turns.append(real())
        return turns[-1]

    monkeypatch.setattr(keeper, "turn", turn)
    books._next_prune = math.inf

    def after() -> list[Progress]:
        turns.clear()
        books._turn()
        return turns

    assert after() == [Progress()]
    other.journal.write(opened(1))
    assert after() == [Progress(1)], "a line is read in the next turn"
    assert [after(), after()] == [[], []]
    (tmp_path / REQUEST).touch()  # no request that can be read
    assert after() == [Progress()]
    (tmp_path / REQUEST).unlink(missing_ok=True)
    books._troubled = True
    assert after() == [Progress()]
    other.close()
    assert after() == []

    def lost() -> bool:
        books._next_turn = 0.0  # the pause is over
        return after() == [Progress(lost=1)]

    assert until(lost)
    books.close()


def test_a_database_locked_by_somebody_else_delays_the_books(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_BUSY_MILLISECONDS", 1)
    figures = NotedFigures()
    books = books_in(tmp_path, figures)
    books.turn()
    with closing(sqlite3.connect(tmp_path / database.NAME, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert books.journal.write(settled(1))
        assert books.turn() == Progress()
        books.sync()
        assert figures.degraded
        other.execute("ROLLBACK")
    assert books.turn().lines == 1
    books.sync()
    assert not figures.degraded
    assert ids(books) == ["call-1"]
    books.close()


def test_a_full_disk_delays_the_books(tmp_path: Path) -> None:
    figures = NotedFigures()
    books = books_in(tmp_path, figures)
    books.turn()
    assert books._bookkeeper is not None
    connection = books._bookkeeper.connection
    connection.execute("PRAGMA max_page_count = 1")  # no less than it has now
    for n in range(500):
        books.journal.write(settled(n))
    assert books.turn() == Progress()
    books.sync()
    assert (figures.degraded, figures.lost) == (True, 0)
    connection.execute("PRAGMA max_page_count = 1000000")
    books.turn()
    books.sync()
    assert (figures.degraded, figures.lost) == (False, 0)
    assert len(ids(books)) == 500
    books.close()


def test_lines_wait_until_the_directory_is_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    blocker, figures = tmp_path / "data", NotedFigures()
    blocker.write_text("a file, so no directory can be made here")
    books = books_in(blocker, figures)
    assert books.turn() == Progress()
    for n in range(3):
        assert not books.journal.write(opened(n))
    books.sync()
    assert figures.degraded
    assert len([one for one in caplog.records if "cannot be kept now" in one.message]) == 1
    blocker.unlink()
    books.sync()
    assert books.turn().lines == 3
    books.sync()
    assert not figures.degraded
    books.close()


def test_lines_that_no_disk_takes_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").write_text("")
    figures = NotedFigures()
    books = books_in(tmp_path / "data", figures)
    monkeypatch.setattr(books.journal, "_most_waiting", 2)
    for n in range(5):
        books.journal.write(settled(n))
    books.sync()
    books.sync()
    assert figures.lost == 3


def test_a_newer_database_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    books_in(tmp_path).close()
    with closing(database.write(tmp_path / database.NAME)) as connection:
        connection.execute("PRAGMA user_version = 999")
    books = books_in(tmp_path)
    assert books.turn() == Progress()
    assert not books.keeps
    assert "Install the version that wrote it" in caplog.text


def test_the_lag_is_the_time_since_the_last_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = NotedFigures()
    books = books_in(tmp_path, figures)
    books.turn()
    real = time.monotonic
    monkeypatch.setattr(module.time, "monotonic", lambda: real() + 60)
    books.sync()
    assert figures.lag >= 60
    books.turn()
    books.sync()
    assert figures.lag < 30
    books.close()


ENDING = """
import sys, threading, time
from pathlib import Path
sys.path[:0] = ["tests"]
from kit.ledger_figures import NotedFigures
from kit.ledger_lines import CALENDAR, NOW, settled
from flask_gateway.ledger.bookkeeper import NoAccounts
from flask_gateway.ledger.books import Books

begun, exits = threading.Event(), threading.Event()

class SlowAccounts(NoAccounts):
    def before(self, journal, lines):
        begun.set()
        exits.wait()
        time.sleep(0.3)
        print("posted", flush=True)
        return {}

    def after(self, lines, marks):
        print("written", flush=True)

books = Books(Path(sys.argv[1]), CALENDAR, NotedFigures(), lambda: NOW, accounts=SlowAccounts())
books.journal.write(settled(1))
books.start()
begun.wait()
print("exits", flush=True)
exits.set()
"""


def test_a_turn_that_has_begun_ends_before_the_process_does(tmp_path: Path) -> None:
    """Otherwise accounts would have the batch, and the next bookkeeper would bring it to them again."""
    command = [sys.executable, "-c", ENDING, str(tmp_path)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout.split() == ["exits", "posted", "written"]
    books = books_in(tmp_path)
    assert books.turn() == Progress(), "the next bookkeeper finds nothing to do"
    assert ids(books) == ["call-1"]
    books.close()
