"""Credits and charges: in force at once, in the ledger, for one subject."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from kit.calls import AUTH, chat, make_settings
from kit.planted import KEY

from flask_gateway import create_app
from flask_gateway.config.admins import AdminSettings
from flask_gateway.config.schema import KeySettings, LedgerSettings
from flask_gateway.ledger import database
from flask_gateway.ledger.bookkeeper import Bookkeeper
from flask_gateway.model.calendar_windows import Calendar, Window
from flask_gateway.model.limits import Budget, Limits, OwnerLimits
from flask_gateway.model.price_override import PriceOverride
from flask_gateway.state.memory import MemoryStore

ADMIN = "admin-key-for-adjustments"
CENT = 10_000_000


@pytest.fixture
def app(tmp_path: Path, store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    """A gateway whose key may spend three cents, at a cent a call. The test turns the books."""
    monkeypatch.setattr("flask_gateway.ledger.books.Books.start", lambda self: None)
    budget = OwnerLimits(own=Limits(budgets=(Budget(3 * CENT, Window.DAY),)))
    price = PriceOverride(rates={"input": 0, "output": 0, "requests": 1000 * CENT})
    made = create_app(
        make_settings(
            keys=(KeySettings(id="web", digest=sha256(KEY.encode()).digest(), policy=budget),),
            ledger=LedgerSettings(data=str(tmp_path)),
            prices={"mock/mock": price},
            admins=(AdminSettings(name="admin", digest=sha256(ADMIN.encode()).digest()),),
        ),
        store,
    )
    made.extensions["gateway"].accounting.accounts.now_current()
    Bookkeeper(tmp_path, Calendar()).close()  # makes the database
    yield made
    made.extensions["gateway"].accounting.books.close()


def post(app: Flask, token: str | None = None, **body: Any) -> Any:
    headers = {"Authorization": f"Bearer {ADMIN}"}
    if token:
        headers["Idempotency-Key"] = token
    return app.test_client().post("/admin/v1/adjustments", json=body, headers=headers)


def call(app: Flask) -> int:
    return app.test_client().post("/v1/chat/completions", json=chat("mock"), headers=AUTH).status_code


def test_a_credit_is_in_force_at_once_and_in_the_ledger(app: Flask, tmp_path: Path) -> None:
    assert [call(app) for _ in range(4)] == [200, 200, 200, 429]
    answer = post(app, subject="key:web", amount="-0.02", note="once")
    assert answer.status_code == 200
    assert answer.json["amount"] == "-0.020000000"
    assert [call(app) for _ in range(3)] == [200, 200, 429]
    keeper = Bookkeeper(tmp_path, Calendar())
    keeper.turn()
    keeper.close()
    with closing(database.read(tmp_path / database.NAME)) as db:
        sums = dict(db.execute("SELECT subject, cost FROM balance WHERE window = 'total'").fetchall())
        sources = dict(db.execute("SELECT source, sum(cost) FROM charge GROUP BY source").fetchall())
        calls = db.execute("SELECT sum(calls) FROM bucket").fetchone()[0]
    assert (sums["key:web"], sums["all"]) == (3 * CENT, 5 * CENT)
    assert sources == {"reported": 5 * CENT, "adjustment": -2 * CENT}
    assert calls == 5


def test_a_credit_of_an_account_that_is_not_open_is_in_force_at_once(app: Flask, tmp_path: Path) -> None:
    """It is opened from the ledger, which gets the credit a moment later."""
    assert [call(app) for _ in range(4)] == [200, 200, 200, 429]
    keeper = Bookkeeper(tmp_path, Calendar())
    keeper.turn()
    app.extensions["gateway"].accounting.accounts.forget_all()  # as after an hour without a call
    assert post(app, subject="key:web", amount="-0.02", note="once").status_code == 200
    assert [call(app) for _ in range(3)] == [200, 200, 429]
    keeper.turn()
    keeper.close()
    assert call(app) == 429


def test_a_credit_with_an_idempotency_key_counts_once(app: Flask) -> None:
    assert [call(app) for _ in range(4)] == [200, 200, 200, 429]
    credit = {"subject": "key:web", "amount": "-0.01", "note": "once"}
    first, again = post(app, "one", **credit), post(app, "one", **credit)
    other = post(app, "one", **{**credit, "amount": "-5"})
    assert (first.status_code, again.status_code, other.status_code) == (200, 200, 409)
    assert again.json == {**first.json, "at": again.json["at"], "replayed": True}
    assert [call(app) for _ in range(2)] == [200, 429]


def test_the_audit_has_an_adjustment(app: Flask) -> None:
    made = post(app, subject="key:web", amount="-0.02", note="the migration").json
    page = app.test_client().get(
        "/admin/v1/audit?subject=key:web", headers={"Authorization": f"Bearer {ADMIN}"}
    )
    (entry,) = page.json["data"]  # type: ignore[index]
    assert (entry["admin"], entry["action"], entry["request"]) == ("admin", "adjust", made["id"])
    assert entry["after"] == {"amount": "-0.020000000", "note": "the migration"}


def test_where_the_audit_cannot_be_written_nothing_is_adjusted(
    app: Flask, tmp_path: Path, store: MemoryStore
) -> None:
    call(app)
    before = sorted(store.scan("money:"))
    (tmp_path / "keys.db").mkdir()
    answer = post(app, subject="key:web", amount="-0.02")
    assert (answer.status_code, answer.json["error"]["code"]) == (503, "keys_unavailable")
    assert sorted(store.scan("money:")) == before


@pytest.mark.parametrize("subject", ["key:none", "key:none/model:m", "team:none", "user:none/ann"])
def test_a_subject_that_no_call_has_is_refused(app: Flask, store: MemoryStore, subject: str) -> None:
    answer = post(app, subject=subject, amount="-1")
    assert (answer.status_code, answer.json["error"]["code"]) == (404, "subject_not_found")
    assert list(store.scan("money:")) == []


def test_an_issued_key_is_named_by_its_id(app: Flask) -> None:
    headers = {"Authorization": f"Bearer {ADMIN}"}
    made = app.test_client().post("/admin/v1/keys", json={"name": "app"}, headers=headers).json
    assert made is not None
    refused = post(app, subject="key:app", amount="-1")
    assert f"is key:{made['id']}." in refused.json["error"]["message"]
    for subject in (f"key:{made['id']}", f"user:{made['id']}/ann", "user:web/ann", "model:any", "all"):
        assert post(app, subject=subject, amount="-1").status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"subject": "key:web", "amount": "0"},
        {"subject": "key:web", "amount": "five"},
        {"subject": "key:web", "amount": "--5"},
        {"subject": "key:web", "amount": "0.0000000001"},
        {"subject": "web", "amount": "1"},
        {"subject": "user:alice", "amount": "1"},
        {"subject": "key:web", "amount": "1", "note": "x" * 501},
        {"subject": "key:web", "amount": "1", "more": 1},
        {"subject": "key:web"},
    ],
)
def test_a_mistake_changes_nothing(app: Flask, store: MemoryStore, body: dict[str, Any]) -> None:
    call(app)
    before = sorted(store.scan("money:"))
    assert post(app, **body).status_code == 400
    assert sorted(store.scan("money:")) == before
