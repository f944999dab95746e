"""Reports of usage, single charges, and the check of the sums."""

from __future__ import annotations

import ast
import sqlite3
from datetime import UTC
from pathlib import Path

import pytest
from kit.ledger_figures import books_in
from kit.ledger_lines import NOW, opened, settled

import flask_gateway.ledger as package
from flask_gateway.ledger import database
from flask_gateway.ledger.reports import (
    ReportError,
    charges,
    disagreements,
    held,
    unpriced,
    usage,
    with_unknown,
)
from flask_gateway.model.spend import Hold

DAY = 86400


@pytest.fixture
def kept(data: Path, books: sqlite3.Connection) -> sqlite3.Connection:
    """A ledger of five charges."""
    keeping = books_in(data)
    for n, more in enumerate(
        [
            {"key": "a", "team": "t", "user": "alice", "cost": 1_000_000_000, "tags": {"env": "prod"}},
            {"key": "a", "team": "t", "cost": 2, "model": "other", "at": NOW + 3600},
            {"key": "b", "cost": 3, "tags": {"env": "test"}},
            {"key": "b", "cost": None},
            {"key": "b", "cost": 5, "at": NOW + DAY},
        ]
    ):
        keeping.journal.write(settled(n, **more))
    assert keeping.turn().lines == 5
    keeping.close()
    return books


def report(connection: sqlite3.Connection, *by: str, until: int = NOW + 2 * DAY) -> list[dict[str, object]]:
    return usage(connection, by, NOW, until, UTC)


def test_usage_in_all(kept: sqlite3.Connection) -> None:
    (row,) = report(kept)
    assert (row["calls"], row["unpriced"], row["input"], row["output"]) == (5, 1, 50, 10)
    assert row["cost"] == "1.000000010"


def test_a_cost_that_is_unknown_is_not_shown_as_0() -> None:
    rows = [
        {"unpriced": 1, "cost": "0.000000000"},
        {"unpriced": 1, "cost": "0.000000010"},
        {"unpriced": 0, "cost": "0.000000000"},
        {"cost": "0.000000000"},
    ]
    assert [row["cost"] for row in with_unknown(rows)] == [None, "0.000000010", "0.000000000", "0.000000000"]


def test_usage_by_key_and_day(kept: sqlite3.Connection) -> None:
    rows = report(kept, "key", "day")
    assert [(row["day"], row["key"], row["calls"], row["cost"]) for row in rows] == [
        ("2026-11-27", "a", 2, "1.000000002"),
        ("2026-11-27", "b", 2, "0.000000003"),
        ("2026-11-28", "b", 1, "0.000000005"),
    ]
    assert len(report(kept, "key", "day", until=NOW + DAY)) == 2


def test_usage_by_user_and_tag(kept: sqlite3.Connection) -> None:
    assert [(row["user"], row["calls"]) for row in report(kept, "user")] == [("t/alice", 1)]
    assert [(row["day"], row["tag"]) for row in report(kept, "day", "tag")] == [
        ("2026-11-27", "env=prod"),
        ("2026-11-27", "env=test"),
    ]


@pytest.mark.parametrize("by", [("size",), ("user", "key"), ("user", "tag")])
def test_dimensions_that_do_not_go_together_are_refused(
    kept: sqlite3.Connection, by: tuple[str, ...]
) -> None:
    with pytest.raises(ReportError):
        report(kept, *by)


def test_single_charges_by_page(kept: sqlite3.Connection) -> None:
    first = charges(kept, limit=2)
    last = first[-1]
    rest = charges(kept, after=(last["at"], last["journal"], last["offset"]))
    assert sorted(row["id"] for row in first + rest) == [f"call-{n}" for n in range(5)]
    assert [row["cost"] for row in charges(kept, request_id="call-3")] == [None]
    assert len(charges(kept, key="a")) == 2


def test_sums_that_differ_are_found(data: Path, kept: sqlite3.Connection) -> None:
    assert list(disagreements(kept)) == []
    assert unpriced(kept) == [("up", "", 1)]
    writing = database.write(data / database.NAME)
    writing.execute("UPDATE bucket SET cost = cost + 1 WHERE key = 'a'")
    writing.close()
    assert [found.split(" is ")[0] for found in disagreements(kept)] == [
        "the cost of all charges",
        "the total of all calls",
    ]


@pytest.mark.parametrize("subject", ["team:t", "all"])
def test_an_adjustment_is_no_fault(data: Path, books: sqlite3.Connection, subject: str) -> None:
    keeping = books_in(data)
    keeping.journal.write(settled(1, cost=9))
    keeping.journal.write(settled(2, cost=-5, source="adjustment", upstream_model=subject, key="", model=""))
    assert keeping.turn().lines == 2
    keeping.close()
    assert list(disagreements(books)) == []


def test_the_amount_that_calls_in_flight_hold(data: Path, books: sqlite3.Connection) -> None:
    kept = books_in(data)
    for number in (1, 2, 3):
        holds = (Hold("key:a", 7, 8, 10), Hold("team:b", 7, 8, 5))
        kept.journal.write(opened(number, holds=holds))
    kept.journal.write(settled(2))
    kept.turn()
    assert [held(books, subject) for subject in ("key:a", "team:b", "key:c")] == [
        "0.000000020",
        "0.000000010",
        "0.000000000",
    ]
    kept.close()


def _constant(node: ast.expr) -> bool:
    """Whether an expression is constant text, or a name in capitals or of a loop over such."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str)
    return isinstance(node, ast.Name) and (node.id.lstrip("_").isupper() or node.id in LOOPED)


#: Names of variables that hold a constant statement.
LOOPED = {"statement", "one", "other", "step"}


def test_all_sql_is_constant_text() -> None:
    found = 0
    for path in Path(package.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if node.func.attr in ("execute", "executemany", "executescript"):
                found += 1
                assert _constant(node.args[0]), f"{path.name}:{node.lineno}"
            for part in ast.walk(node):
                text = isinstance(part, ast.JoinedStr) and ast.unparse(part)
                assert not (text and "SELECT" in text), f"{path.name}:{node.lineno}"
    assert found > 20
