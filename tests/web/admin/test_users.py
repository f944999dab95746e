"""/admin/v1/users: limits of single end users, what they use, and lists of those who have called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kit.admins import AdminClient
from kit.waiting import until

from flask_gateway.config.schema import LedgerSettings
from flask_gateway.model.limits import Limits, OwnerLimits
from flask_gateway.model.price_override import PriceOverride
from flask_gateway.state.memory import MemoryStore

#: A cent for each call.
PRICE = PriceOverride(rates={"input": 0, "output": 0, "requests": 10_000_000_000})


@pytest.fixture
def admins(data: Path, store: MemoryStore) -> AdminClient:
    """A gateway with a team of the file and one of the database."""
    file_team = OwnerLimits(users=Limits(requests=3))
    admins = AdminClient(data, store, teams={"fixed": file_team}, prices={"mock/mock": PRICE})
    assert admins.ask("PUT", "/teams/search", {"limits": {"users": {"requests": 1}}}).status_code == 200
    return admins


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("PUT", "/users/nowhere/alice", {"limits": {}}, 404, "owner_not_found"),
        ("GET", "/users/nowhere/alice", None, 404, "owner_not_found"),
        ("PUT", "/users/fixed/alice", {"limits": {}}, 409, "set_in_file"),
        ("DELETE", "/users/search/alice", None, 404, "user_not_found"),
        ("PUT", "/users/search/alice", {}, 400, None),
        ("PUT", "/users/search/alice", {"limits": {"request": 1}}, 400, None),
        ("PUT", f"/users/search/{'x' * 65}", {"limits": {"requests": 1}}, 400, None),
        ("GET", "/users?owners=search", None, 400, None),
    ],
)
def test_a_mistake_changes_nothing(
    admins: AdminClient, method: str, path: str, body: Any, status: int, code: str | None
) -> None:
    before = admins.ask("GET", "/teams").json
    answer = admins.ask(method, path, body)
    assert (answer.status_code, answer.json["error"]["code"]) == (status, code)  # type: ignore[index]
    assert admins.ask("GET", "/teams").json == before


def calls(admins: AdminClient, secret: str, user: str, count: int) -> list[int]:
    return [admins.chat(secret, x_gateway_user=user).status_code for _ in range(count)]


def test_an_end_user_has_limits_of_its_own_until_they_are_removed(admins: AdminClient) -> None:
    key = admins.make(team="search", limits={"requests": 0})
    assert calls(admins, key["secret"], "bob", 2) == [200, 429]
    put = admins.ask("PUT", "/users/search/alice", {"limits": {"requests": 2}}).json
    assert (put["own_limits"], put["usage"]["requests"]["left"]) == (True, 2)  # type: ignore[index]
    assert calls(admins, key["secret"], "alice", 3) == [200, 200, 429]
    shown = admins.ask("GET", "/users/search/alice").json
    assert shown["usage"]["requests"] | {"reset_seconds": 0} == {  # type: ignore[index]
        "limit": 2,
        "used": 2,
        "left": 0,
        "reset_seconds": 0,
    }
    assert admins.ask("DELETE", "/users/search/alice").status_code == 200
    assert admins.ask("GET", "/users/search/alice").json["usage"]["requests"]["limit"] == 1  # type: ignore[index]
    actions = [entry["action"] for entry in admins.ask("GET", "/audit?subject=team:search").json["data"]]  # type: ignore[index]
    assert actions == ["delete_user", "put_user", "put_team"]


def test_a_key_without_a_team_has_end_users_of_its_own(admins: AdminClient) -> None:
    key = admins.make(limits={"requests": 0})
    assert admins.ask("PUT", f"/users/{key['id']}/eve", {"limits": {"requests": 1}}).status_code == 200
    assert calls(admins, key["secret"], "eve", 2) == [200, 429]
    assert calls(admins, key["secret"], "mallory", 3) == [200, 200, 200]


def test_end_users_that_have_called_are_listed_by_pages(admins: AdminClient) -> None:
    key, other = admins.make(team="search"), admins.make(limits={"users": True})
    for name in ("alice", "bob", "carol"):
        assert admins.chat(key["secret"], x_gateway_user=name).status_code == 200
    assert admins.chat(other["secret"], x_gateway_user="alice").status_code == 200

    def listed(query: str) -> dict[str, Any]:
        return dict(admins.ask("GET", f"/users?{query}").json or {})

    assert until(lambda: len(listed("").get("data", ())) == 4)
    first = listed("owner=search&limit=2")
    rest = listed(f"owner=search&limit=2&after={first['last_id']}")
    assert [user["name"] for user in first["data"] + rest["data"]] == ["alice", "bob", "carol"]
    assert (first["has_more"], rest["has_more"]) == (True, False)
    assert {user["spend"]["total"] for user in listed("")["data"]} == {"0.010000000"}
    assert [user["owner"] for user in listed(f"owner={other['id']}")["data"]] == [other["id"]]
    assert admins.ask("GET", "/users/search/bob").json["spend"]["total"] == "0.010000000"  # type: ignore[index]


def test_where_names_are_digests_a_user_is_found_by_either(data: Path, store: MemoryStore) -> None:
    ledger = LedgerSettings(data=str(data), users="digest")
    admins = AdminClient(data, store, ledger=ledger)
    admins.ask("PUT", "/teams/search", {"limits": {"users": {"requests": 5}}})
    key = admins.make(team="search")
    assert calls(admins, key["secret"], "planted-alice", 2) == [200, 200]
    by_name = admins.ask("GET", "/users/search/planted-alice").json
    assert by_name["usage"]["requests"]["used"] == 2  # type: ignore[index]
    by_digest = admins.ask("GET", f"/users/search/{by_name['name']}").json  # type: ignore[index]
    assert by_digest["usage"]["requests"]["used"] == 2  # type: ignore[index]
    assert "planted" not in str(by_name)
