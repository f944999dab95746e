"""GET /v1/key: what the holder of a key is shown."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from kit.admins import AdminClient
from kit.calls import AUTH
from kit.waiting import until

from flask_gateway.config.schema import LedgerSettings
from flask_gateway.ledger.bookkeeper import Bookkeeper
from flask_gateway.model.calendar_windows import Calendar
from flask_gateway.model.price_override import PriceOverride
from flask_gateway.state.memory import MemoryStore

BUDGET = {"amount": "0.05", "window": "day"}
#: A cent for each call.
PRICE = PriceOverride(rates={"input": 0, "output": 0, "requests": 10_000_000_000})


@pytest.fixture(autouse=True)
def _no_bookkeeper(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread moves the calls of a test meanwhile."""
    monkeypatch.setattr("flask_gateway.ledger.books.Books.start", lambda self: None)


def spending(data: Path, store: MemoryStore, **ledger: Any) -> AdminClient:
    """A gateway whose calls cost a cent each. Its ledger is up to date."""
    data.mkdir(exist_ok=True)
    Bookkeeper(data, Calendar()).close()  # makes the database
    kept = LedgerSettings(data=str(data), **ledger)
    admins = AdminClient(data, store, ledger=kept, prices={"mock/mock": PRICE})
    admins.app.extensions["gateway"].accounting.accounts.now_current()
    return admins


def test_a_key_of_the_settings_is_shown(client: FlaskClient) -> None:
    assert client.get("/v1/key").status_code == 401
    shown = client.get("/v1/key", headers=AUTH).json
    assert (shown["id"], shown["expires_at"], shown["limits"]["requests"]) == ("team-a", None, 60)


def test_an_issued_key_is_shown_with_its_limits(tmp_path: Path, store: MemoryStore) -> None:
    admins = AdminClient(tmp_path / "data", store)
    ends = int(time.time()) + 1000
    limits = {"tokens": 1000, "budgets": [{"amount": "5", "window": "day"}]}
    key = admins.make(models=["mock"], tags={"env": "prod"}, expires_at=ends, limits=limits)
    shown = admins.http.get("/v1/key", headers={"Authorization": f"Bearer {key['secret']}"}).json
    assert shown == {
        "object": "key",
        "id": key["id"],
        "team": None,
        "tags": {"env": "prod"},
        "models": ["mock"],
        "expires_at": ends,
        "limits": {
            "requests": 60,
            "tokens": 1000,
            "concurrent": 0,
            "budgets": [{"amount": "5.000000000", "window": "day", "strict": False}],
        },
        "usage": shown["usage"],
        "spend": shown["spend"],
    }
    (usage,) = shown["usage"]
    assert usage["subject"] == f"key:{key['id']}"
    assert usage["tokens"] == {"limit": 1000, "used": 0, "left": 1000, "reset_seconds": 0.0}


def test_the_holder_sees_used_held_and_left_of_each_limit(tmp_path: Path, store: MemoryStore) -> None:
    admins = spending(tmp_path, store)
    admins.ask("PUT", "/teams/search", {"limits": {"requests": 9, "concurrent": 2, "budgets": [BUDGET]}})
    limits = {
        "requests": 5,
        "tokens": 10_000,
        "budgets": [BUDGET],
        "model_limits": {"mock": {"tokens": 9000}},
    }
    key = admins.make(team="search", limits=limits)
    for _ in range(2):
        assert admins.chat(key["secret"]).status_code == 200
    shown = admins.http.get("/v1/key", headers={"Authorization": f"Bearer {key['secret']}"}).json
    usage = {entry["subject"]: entry for entry in shown["usage"]}
    own, team = usage[f"key:{key['id']}"], usage["team:search"]
    assert set(usage) == {f"key:{key['id']}", f"key:{key['id']}/model:mock", "team:search"}
    assert (own["requests"]["used"], own["requests"]["left"], team["requests"]["left"]) == (2, 3, 7)
    assert team["concurrent"] == {"limit": 2, "used": 0, "left": 2}
    (budget,) = own["budgets"]
    assert (budget["used"], budget["held"], budget["left"]) == ("0.020000000", "0.000000000", "0.030000000")
    assert budget["resets_at"] > time.time()
    assert shown["spend"]["total"] == "0.020000000"
    seen = admins.ask("GET", f"/keys/{key['id']}?with=spend").json
    assert seen["usage"] == [{**entry, **seen_now(entry, seen)} for entry in shown["usage"]]
    assert admins.ask("GET", f"/keys/{key['id']}?with=all").status_code == 400


def test_a_refusal_of_the_team_costs_the_key_no_requests_no_tokens_and_no_money(
    tmp_path: Path, store: MemoryStore
) -> None:
    """Case 6 of the design of keys, with all limits of the key."""
    admins = spending(tmp_path, store)
    one_call = {"amount": "0.01", "window": "day"}
    admins.ask("PUT", "/teams/search", {"limits": {"budgets": [one_call]}})
    key = admins.make(team="search", limits={"requests": 5, "tokens": 10_000, "budgets": [BUDGET]})

    def usage() -> dict[str, Any]:
        shown = admins.http.get("/v1/key", headers={"Authorization": f"Bearer {key['secret']}"}).json
        own = next(entry for entry in shown["usage"] if entry["subject"].startswith("key:"))
        return {
            "requests": own["requests"]["used"],
            "tokens": own["tokens"]["used"],
            "money": (own["budgets"][0]["used"], own["budgets"][0]["held"]),
        }

    assert admins.chat(key["secret"]).status_code == 200
    assert until(lambda: usage()["tokens"] == 8)  # those that it reserved go back soon
    before = usage()
    assert before["requests"] == 1
    refused = admins.chat(key["secret"])
    assert (refused.status_code, refused.headers["x-gateway-budget"]) == (429, "team/day")
    assert usage() == before


def test_a_rotated_key_has_one_id_and_one_spend_for_both_secrets(tmp_path: Path, store: MemoryStore) -> None:
    """Case 49 of the design of keys, with test_a_key_and_a_secret_end_at_their_moment for what follows."""
    admins = spending(tmp_path, store)
    key = admins.make(limits={"budgets": [BUDGET]})
    rotated = admins.ask("POST", f"/keys/{key['id']}/rotate", {"overlap": 3600}).json
    secrets = [key["secret"], rotated["secret"]]
    assert [admins.chat(secret).status_code for secret in secrets] == [200, 200]
    for secret in secrets:
        shown = admins.http.get("/v1/key", headers={"Authorization": f"Bearer {secret}"}).json
        assert (shown["id"], shown["spend"]["total"]) == (key["id"], "0.020000000")


def test_a_stream_that_had_begun_goes_on_when_its_key_expires(tmp_path: Path, store: MemoryStore) -> None:
    """Case 22 of the design of keys; its moments: test_a_key_and_a_secret_end_at_their_moment."""
    admins = spending(tmp_path, store)
    key = admins.make()
    body = {"model": "mock", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
    headers = {"Authorization": f"Bearer {key['secret']}"}
    events = iter(admins.http.post("/v1/chat/completions", json=body, headers=headers).response)
    first = next(events)

    def expires_soon() -> bool:
        fields = {"expires_at": int(time.time()) + 1}
        return admins.ask("PATCH", f"/keys/{key['id']}", fields).status_code == 200

    assert until(expires_soon)  # a slow machine may send a moment that is over
    assert until(lambda: admins.status(key["secret"]) == "key_expired")
    assert b"[DONE]" not in first
    assert b"".join(events).endswith(b"data: [DONE]\n\n")  # type: ignore[arg-type]


def seen_now(entry: dict[str, Any], seen: dict[str, Any]) -> dict[str, Any]:
    """The parts of an entry in which seconds run."""
    (same,) = [other for other in seen["usage"] if other["subject"] == entry["subject"]]
    return {name: part for name, part in same.items() if isinstance(part, dict)}


def test_without_tell_cost_a_holder_sees_no_money(tmp_path: Path, store: MemoryStore) -> None:
    admins = spending(tmp_path, store, tell_cost=False)
    key = admins.make(limits={"budgets": [BUDGET], "tokens": 7})
    shown = admins.http.get("/v1/key", headers={"Authorization": f"Bearer {key['secret']}"}).json
    assert (shown["spend"], shown["limits"]["budgets"]) == (None, [])
    assert "budgets" not in shown["usage"][0]
