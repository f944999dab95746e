"""Usage, charges and prices for admins."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import pytest
from kit.admins import AdminClient
from kit.calls import AUTH, chat
from kit.waiting import until

from flask_gateway.app.build import Gateway
from flask_gateway.config.schema import LedgerSettings
from flask_gateway.ledger import database, reports
from flask_gateway.model.calendar_windows import Calendar
from flask_gateway.model.price_override import PriceOverride
from flask_gateway.state.memory import MemoryStore


@pytest.fixture
def kept(data: Path, store: MemoryStore) -> AdminClient:
    """A gateway that has answered three calls, at 1 and 2 US dollars per million tokens."""
    prices = {"mock/mock": PriceOverride(rates={"input": 10**6, "output": 2 * 10**6})}
    admins = AdminClient(data, store, prices=prices, ledger=LedgerSettings(data=str(data)))
    costs = set()
    for _ in range(3):
        answer = admins.http.post("/v1/chat/completions", json=chat("mock"), headers=AUTH)
        used = answer.json["usage"]  # type: ignore[index]
        nano = 1000 * used["prompt_tokens"] + 2000 * used["completion_tokens"]
        costs.add((answer.headers["x-gateway-cost"], f"0.{nano:09d}"))
    ((told, counted),) = costs
    assert told == counted
    gateway: Gateway = admins.app.extensions["gateway"]
    assert gateway.accounting is not None
    until(lambda: len(admins.ask("GET", "/charges").json.get("data", ())) == 3)  # type: ignore[union-attr]
    return admins


def test_the_ledger_over_http(kept: AdminClient) -> None:
    assert kept.ask("GET", "/usage?by=size").status_code == 400
    (row,) = kept.ask("GET", "/usage?by=key,model").json["data"]  # type: ignore[index]
    assert (row["key"], row["model"], row["calls"]) == ("team-a", "mock", 3)
    text = kept.ask("GET", "/usage?by=key&format=csv")
    assert text.content_type == "text/csv; charset=utf-8"
    assert text.text.startswith("key,calls,")
    first = kept.ask("GET", "/charges?limit=2").json
    assert first is not None
    assert (len(first["data"]), first["has_more"]) == (2, True)
    rest = kept.ask("GET", f"/charges?after={first['last_id']}").json
    assert rest is not None
    assert (len(rest["data"]), rest["has_more"]) == (1, False)
    found = kept.ask("GET", f"/charges?request_id={rest['data'][0]['id']}").json
    assert found is not None
    assert found["data"] == rest["data"]
    (price,) = kept.ask("GET", "/prices?model=mock/mock").json["data"]  # type: ignore[index]
    assert (price["source"], price["price"]) == ("setting", "input 1, output 2")


def test_a_list_of_keys_shows_what_each_has_spent(kept: AdminClient) -> None:
    idle = kept.make(name="idle")
    (entry,) = kept.ask("GET", "/keys?with=spend").json["data"]  # type: ignore[index]
    assert entry["id"] == idle["id"]
    assert entry["spend"] == dict.fromkeys(("day", "week", "month", "total"), "0.000000000")
    assert kept.ask("GET", "/keys?with=spent").status_code == 400


def test_spend_is_that_of_the_present_windows(data: Path, kept: AdminClient) -> None:
    with closing(database.read(data / database.NAME)) as connection:
        now = Calendar().starts(time.time())
        later = Calendar().starts(time.time() + 40 * 86400)
        (spent,), (after,) = (
            reports.spend(connection, ["key:team-a"], starts).values() for starts in (now, later)
        )
    assert spent["day"] == spent["total"] != "0.000000000"
    assert (after["month"], after["total"]) == ("0.000000000", spent["total"])


@pytest.mark.parametrize(
    "path",
    [
        "/usage?since=soon",
        "/usage?format=xml",
        "/charges?limit=0",
        "/charges?after=x",
        "/usage?bye=1",
    ],
)
def test_wrong_parameters_are_refused(data: Path, store: MemoryStore, path: str) -> None:
    answer = AdminClient(data, store).ask("GET", path)
    assert answer.status_code == 400


def test_a_ledger_that_cannot_be_read_is_503(data: Path, store: MemoryStore) -> None:
    data.mkdir()
    (data / "bookkeeper.lock").mkdir()  # so that no bookkeeper starts
    answer = AdminClient(data, store).ask("GET", "/charges")
    assert answer.status_code == 503
    assert answer.json["error"]["code"] == "ledger_unavailable"  # type: ignore[index]
