"""The bookkeeper: every line once, whatever dies, and the calls of dead workers charged as lost."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kit.ledger_lines import CALENDAR, NOW, opened, settled
from kit.waiting import until

from flask_gateway.ledger import bookkeeper as module
from flask_gateway.ledger import database
from flask_gateway.ledger.bookkeeper import Bookkeeper, Progress
from flask_gateway.ledger.journal import Journal
from flask_gateway.ledger.lines import Hold, encode
from flask_gateway.model.units import Units


def keeper(data: Path) -> Bookkeeper:
    return Bookkeeper(data, CALENDAR, lambda: float(NOW))


def rows(books: sqlite3.Connection) -> list[tuple[str, int, int | None, str]]:
    return books.execute("SELECT id, leg, cost, source FROM charge ORDER BY id, leg").fetchall()


def total(books: sqlite3.Connection, query: str) -> int:
    return books.execute(query).fetchone()[0] or 0


def agree(books: sqlite3.Connection) -> None:
    """Every sum of the ledger equals the sum of its charges."""
    cost = total(books, "SELECT sum(cost) FROM charge")
    assert total(books, "SELECT sum(cost) FROM bucket") == cost
    assert total(books, "SELECT sum(input) FROM bucket") == total(books, "SELECT sum(input) FROM charge")
    for window in ("day", "week", "month", "total"):
        found = books.execute(
            "SELECT sum(cost) FROM balance WHERE subject = 'all' AND window = ?", (window,)
        ).fetchone()
        assert (found[0] or 0) == cost


def test_lines_become_rows_and_sums(data: Path, books: sqlite3.Connection) -> None:
    journal = Journal(data / "journal")
    for n in range(1, 451):
        journal.write(opened(n))
        journal.write(settled(n, team="search", user="alice", tags={"env": "prod"}))
    keep = keeper(data)
    assert keep.turn() == Progress(900, 0, 0)
    assert keep.turn() == Progress()
    assert len(rows(books)) == 450
    agree(books)
    assert database.balances(books, "team:search/model:m", [("day", NOW), ("total", 0), ("day", 5)]) == [
        450 * 451 // 2, 450 * 451 // 2, 0,
    ]  # fmt: skip
    assert books.execute("SELECT * FROM user_day").fetchall()[0][1:4] == ("search", "alice", 450)
    assert books.execute("SELECT tag, value, calls FROM tag_day").fetchall() == [("env", "prod", 450)]
    keep.close()


def test_a_call_that_a_dead_worker_left_is_charged_with_its_hold(
    data: Path, books: sqlite3.Connection
) -> None:
    journal = Journal(data / "journal")
    holds = (Hold("key:key_a", 1, 2, 2_000_000), Hold("team:t", 1, 2, 2_000_000))
    for n in range(1, 4):
        journal.write(opened(n, holds=holds))
    journal.write(settled(2))
    keep = keeper(data)
    assert keep.turn() == Progress(4, 0, 0)
    journal.close()  # what the kernel does for a killed worker
    assert keep.turn() == Progress(0, 0, 2)
    assert rows(books) == [
        ("call-1", 0, 2_000_000, "lost"),
        ("call-2", 0, 2, "reported"),
        ("call-3", 0, 2_000_000, "lost"),
    ]
    assert list(data.joinpath("journal").iterdir()) == []
    assert books.execute("SELECT count(*) FROM journal").fetchone() == (0,)
    agree(books)
    keep.close()


def test_a_settlement_in_the_next_file_ends_the_call(data: Path, books: sqlite3.Connection) -> None:
    journal = Journal(data / "journal", file_bytes=1)
    journal.write(opened(1))
    journal.write(settled(1, leg=0, end=False))
    journal.write(settled(1, leg=1))
    keep = keeper(data)
    assert keep.turn() == Progress(3, 0, 0)
    assert len(list(data.joinpath("journal").iterdir())) == 1
    journal.close()
    assert keep.turn().lost == 0
    assert [row[:2] for row in rows(books)] == [("call-1", 0), ("call-1", 1)]
    keep.close()


def test_a_worker_that_begins_a_file_while_the_journals_are_listed_is_alive(
    data: Path, books: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(data / "journal", file_bytes=1)
    journal.write(opened(1))
    real: Callable[[Path], bool] = module._free

    def free(path: Path) -> bool:
        monkeypatch.setattr(module, "_free", real)
        journal.write(opened(2))  # the next file; the first one is free now
        return real(path)

    monkeypatch.setattr(module, "_free", free)
    keep = keeper(data)
    assert keep.turn() == Progress(1, 0, 0)
    assert keep.turn() == Progress(1, 0, 0)
    journal.close()
    # A process that another thread begins has the file, and so its lock, until it runs its program.
    assert until(lambda: keep.turn().lost == 2)
    keep.close()


def test_torn_and_damaged_lines_are_skipped_and_counted(data: Path, books: sqlite3.Connection) -> None:
    good, bad = encode(settled(1)), bytearray(encode(settled(2)))
    bad[20] ^= 1
    torn = encode(settled(3))[:-20]
    data.joinpath("journal", "00-1-a.000001").write_bytes(good + bytes(bad) + encode(settled(4)) + torn)
    data.joinpath("journal", "01-2-b.000001").write_bytes(b"x" * 600_000 + encode(settled(5)))
    keep = keeper(data)
    progress = keep.turn()
    assert progress.damaged >= 3
    assert [row[0] for row in rows(books)] == ["call-1", "call-4", "call-5"]
    agree(books)
    keep.close()


@pytest.mark.parametrize("torn_at", [3, 40, -12, -2])
def test_a_line_that_a_full_disk_tore_and_that_came_again_is_no_loss(
    data: Path, books: sqlite3.Connection, torn_at: int, caplog: pytest.LogCaptureFixture
) -> None:
    torn, others = encode(settled(2)), b"".join(encode(settled(n)) for n in range(3, 300))
    # Twice torn; another thread's lines come between, more than one transaction takes.
    text = encode(settled(1)) + torn[:torn_at] + torn[:-20] + others + torn
    data.joinpath("journal", "00-1-a.000001").write_bytes(text)
    keep = keeper(data)
    assert keep.turn().damaged == 0
    assert total(books, "SELECT count(*) FROM charge") == 299
    assert "damaged" not in caplog.text
    keep.close()


def test_one_process_keeps_the_books(data: Path) -> None:
    keep = keeper(data)
    with pytest.raises(BlockingIOError):
        keeper(data)
    keep.close()
    keeper(data).close()


def test_an_unknown_price_is_counted_and_is_not_zero(data: Path, books: sqlite3.Connection) -> None:
    journal = Journal(data / "journal")
    journal.write(settled(1, cost=None))
    journal.write(settled(2, cost=0, units=Units(requests=0)))
    keep = keeper(data)
    keep.turn()
    assert rows(books) == [("call-1", 0, None, "reported")]
    assert books.execute("SELECT unpriced, cost FROM bucket").fetchall() == [(1, 0)]
    keep.close()


class Dead(BaseException):
    """The bookkeeper dies here."""


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    deaths=st.lists(st.integers(0, 12), max_size=6),
    calls=st.lists(
        st.tuples(st.integers(1, 3), st.integers(0, 10**9), st.booleans()), min_size=1, max_size=60
    ),
)
def test_no_death_of_the_bookkeeper_loses_or_doubles_a_line(
    tmp_path_factory: pytest.TempPathFactory, deaths: list[int], calls: list[tuple[int, int, bool]]
) -> None:
    data = tmp_path_factory.mktemp("data")
    data.joinpath("journal").mkdir()
    journal = Journal(data / "journal", file_bytes=4000)
    for n, (legs, cost, ends) in enumerate(calls, 1):
        journal.write(opened(n, holds=(Hold("key:key_a", 1, 1, 7),)))
        for leg in range(legs):
            if ends or leg < legs - 1:
                journal.write(settled(n, leg=leg, cost=cost + 1, end=leg == legs - 1))
    journal.close()
    for after in deaths:
        die_after(data, after)
    keep = keeper(data)
    keep.turn()
    keep.close()
    expected = sum(
        (cost + 1) * (legs if ends else legs - 1) + (0 if ends else 7) for legs, cost, ends in calls
    )
    with closing(sqlite3.connect(data / database.NAME)) as connection, connection:
        assert total(connection, "SELECT sum(cost) FROM charge") == expected
        agree(connection)
    connection.close()
    assert list(data.joinpath("journal").iterdir()) == []


def die_after(data: Path, statements: int) -> None:
    """Run a bookkeeper that dies after so many steps in the database: between any two, and within
    transactions."""
    keep = keeper(data)
    left = [statements]

    def step() -> int:
        left[0] -= 1
        return left[0] < 0

    keep._database.set_progress_handler(step, 40)
    try:
        keep.turn()
    except sqlite3.OperationalError:
        pass
    finally:
        keep._database.set_progress_handler(None, 0)
        keep.close()
