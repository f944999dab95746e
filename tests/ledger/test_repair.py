"""Sums that are computed again, and charges that are priced later: refusals first."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from kit.ledger_lines import CALENDAR, NOW, settled

from flask_gateway.ledger import database
from flask_gateway.ledger.posting import Batch, Place
from flask_gateway.ledger.repair import Priced, rebuild, reprice
from flask_gateway.ledger.reports import disagreements
from flask_gateway.model.units import Units

SUMS = ("bucket", "user_day", "balance")
LINES: list[dict[str, Any]] = [
    {"cost": 5, "team": "t", "user": "ann"},
    {"cost": None, "user": "ann", "units": Units(input=7, output=1, searches=2)},
    {"cost": None, "at": NOW + 3600},
    {"cost": 9, "source": "lost"},
    {"cost": -3, "source": "adjustment", "upstream_model": "team:t", "model": ""},
]


@pytest.fixture
def ledger(data: Path) -> Iterator[sqlite3.Connection]:
    """A ledger of five charges, two of which have no price."""
    with closing(database.write(data / database.NAME)) as connection:
        batch = Batch(CALENDAR)
        for n, change in enumerate(LINES, 1):
            batch.add(settled(n, **change), Place(1, n))
        with database.transaction(connection):
            database.insert(connection, batch)
        yield connection


def tables(ledger: sqlite3.Connection) -> list[set[tuple[Any, ...]]]:
    return [set(ledger.execute(f"SELECT * FROM {name}")) for name in SUMS]


def test_without_the_old_charges_nothing_is_computed_again(ledger: sqlite3.Connection) -> None:
    ledger.execute("UPDATE pruned SET charges = 1")
    before = tables(ledger)
    with pytest.raises(database.LedgerError, match="cannot be computed again"):
        rebuild(ledger, CALENDAR)
    assert tables(ledger) == before


def test_a_price_that_fails_changes_nothing(ledger: sqlite3.Connection) -> None:
    before = tables(ledger)

    def price(upstream: str, model: str, units: Units, at: float) -> Priced:
        if at > NOW:
            raise RuntimeError("no table")
        return Priced(1, "r")

    with pytest.raises(RuntimeError):
        reprice(ledger, CALENDAR, price)
    assert tables(ledger) == before
    assert not ledger.in_transaction


def test_computed_again_the_sums_are_what_posting_made_them(ledger: sqlite3.Connection) -> None:
    before = tables(ledger)
    ledger.execute("UPDATE bucket SET cost = 77")
    ledger.execute("DELETE FROM balance WHERE subject = 'all'")
    assert rebuild(ledger, CALENDAR) == len(LINES)
    assert tables(ledger) == before


def test_charges_without_a_price_get_one_and_every_sum_follows(ledger: sqlite3.Connection) -> None:
    asked: list[Units] = []

    def price(upstream: str, model: str, units: Units, at: float) -> Priced | None:
        asked.append(units)
        return Priced(100, "r") if at == NOW else None

    assert reprice(ledger, CALENDAR, price) == (1, 100)
    assert asked[0] == Units(input=7, output=1, searches=2, requests=asked[0].requests)
    assert list(disagreements(ledger)) == []
    repriced = tables(ledger)
    rebuild(ledger, CALENDAR)
    assert tables(ledger) == repriced
    rates = ledger.execute("SELECT cost, rates FROM charge WHERE id = 'call-2'").fetchone()
    assert rates == (100, "r")
