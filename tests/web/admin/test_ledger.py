"""Usage, charges and prices for admins."""

from __future__ import annotations

from pathlib import Path

import pytest
from kit.admins import AdminClient

from flask_gateway.state.memory import MemoryStore


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
