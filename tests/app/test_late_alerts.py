"""A cost that reaches its account late, or as an adjustment, alerts like any other: once."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kit.calls import make_settings
from kit.ledger_lines import opened, settled

from flask_gateway import create_app
from flask_gateway.app.accounting import Accounting
from flask_gateway.config.schema import KeySettings, LedgerSettings
from flask_gateway.ledger import database
from flask_gateway.model.calendar_windows import Window
from flask_gateway.model.limits import Budget, Limits, OwnerLimits
from flask_gateway.model.spend import Hold
from flask_gateway.state.memory import MemoryStore

DOLLAR = 10**9
BUDGET = Limits(budgets=(Budget(DOLLAR, Window.TOTAL),))
KEY = KeySettings(
    id="web",
    digest=sha256(b"a-key-of-late-alerts").digest(),
    team="search",
    policy=OwnerLimits(own=BUDGET, models={"m": BUDGET}, users=BUDGET),
)
TEAMS = {"search": OwnerLimits(own=BUDGET)}
NO_LIMITS = (-1, -1, -1, -1)


@pytest.fixture
def accounting(tmp_path: Path, store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Accounting]:
    ledger = LedgerSettings(data=str(tmp_path))
    app = create_app(make_settings(ledger=ledger, keys=(KEY,), teams=TEAMS), store)
    made: Accounting = app.extensions["gateway"].accounting
    monkeypatch.setattr(made.accounts._keeper, "start", lambda: None)
    made.books.turn()
    yield made
    made.books.close()


def alerts(accounting: Accounting) -> list[tuple[Any, ...]]:
    """The alerts of the ledger, after it has read its own lines."""
    accounting.books.turn()
    accounting.books.turn()
    with closing(sqlite3.connect(accounting.books.data / database.NAME)) as ledger:
        return ledger.execute("SELECT subject, window, share FROM alert ORDER BY subject, share").fetchall()


def open_account(accounting: Accounting, subject: str, used: int) -> None:
    hold = accounting.accounts.reserve(subject, NO_LIMITS, used, strict=False).hold
    assert hold is not None
    accounting.accounts.settle(hold, used)


def test_costs_that_are_posted_late_alert_once(accounting: Accounting) -> None:
    for subject in ("key:web", "team:search", "key:web/model:m", "user:search/ann", "all"):
        open_account(accounting, subject, 79 * DOLLAR // 100)
    line = settled(1, key="web", team="search", user="ann", cost=DOLLAR // 100, applied=())
    accounting.books.journal.write(line)
    expected = ["key:web", "key:web/model:m", "team:search", "user:search/ann"]
    assert alerts(accounting) == [(subject, "total", 0.8) for subject in expected]
    accounting.books.journal.write(msgspec.structs.replace(line, n=2))
    assert len(alerts(accounting)) == 4


def test_lost_calls_alert(accounting: Accounting) -> None:
    open_account(accounting, "key:web", 0)
    holds = (Hold("key:web", 1, 2, DOLLAR),)
    accounting.posting.lost("w", opened(1, key="web", holds=holds), settled(1, key="web", cost=DOLLAR))
    assert alerts(accounting) == [("key:web", "total", 0.8), ("key:web", "total", 1.0)]


def test_adjustments_alert(accounting: Accounting) -> None:
    for subject in ("team:search", "key:web/model:m"):
        open_account(accounting, subject, 0)
        accounting.adjust(subject, 85 * DOLLAR // 100, "req")
        accounting.adjust(subject, -DOLLAR, "req")
    assert alerts(accounting) == [("key:web/model:m", "total", 0.8), ("team:search", "total", 0.8)]


def test_an_adjustment_of_an_account_that_is_not_open_alerts(accounting: Accounting) -> None:
    accounting.adjust("team:search", 85 * DOLLAR // 100, "req")
    assert alerts(accounting) == [("team:search", "total", 0.8)]
