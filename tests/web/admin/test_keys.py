"""/admin/v1/keys and /teams: faults first, then the life of a key. Cases 22, 47 and 49 of keys.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kit.admins import AdminClient
from kit.calls import AUTH

from flask_gateway.state.memory import MemoryStore

NEVER = "key_aaaaaaaaaaaa"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"nmae": "x"}, None),
        ({"name": "a b"}, "name"),
        ({"team": "nowhere"}, "team"),
        ({"models": []}, "models"),
        ({"models": "gpt"}, None),
        ({"tags": {"a b": "x"}}, "tags"),
        ({"limits": {"request": 1}}, "limits"),
        ({"limits": {"requests": -1}}, "limits"),
        ({"limits": {"budgets": [{"amount": 0.1, "window": "day"}]}}, "limits"),
        ({"expires_at": 1}, "expires_at"),
        ({"sha256": "aa"}, "sha256"),
        ({"note": "\x00"}, "note"),
        ({"note": "x" * 9000}, "note"),
    ],
)
def test_a_wrong_field_is_refused_by_name(
    admins: AdminClient, body: dict[str, Any], param: str | None
) -> None:
    answer = admins.ask("POST", "/keys", body)
    assert answer.status_code == 400
    assert answer.json["error"]["param"] == param
    assert admins.ask("GET", "/keys").json["data"] == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/keys/{NEVER}"),
        ("PATCH", f"/keys/{NEVER}"),
        ("DELETE", f"/keys/{NEVER}"),
        ("POST", f"/keys/{NEVER}/rotate"),
        ("POST", f"/keys/{NEVER}/disable"),
        ("GET", "/keys/by-name/x"),
        ("GET", "/keys?after=x"),
        ("GET", "/teams/x"),
        ("DELETE", "/teams/x"),
    ],
)
def test_a_missing_key_or_team_is_404(admins: AdminClient, method: str, path: str) -> None:
    assert admins.ask(method, path, None if method in ("GET", "DELETE") else {}).status_code == 404


@pytest.mark.parametrize("query", ["limits=1", "limit=0", "limit=501", "limit=x"])
def test_a_wrong_parameter_is_refused(admins: AdminClient, query: str) -> None:
    assert admins.ask("GET", f"/keys?{query}").status_code == 400
    assert admins.ask("DELETE", f"/keys/{NEVER}?streams=maybe").status_code == 400


def test_a_change_for_an_old_version_is_refused(admins: AdminClient) -> None:
    key = admins.make()
    assert admins.ask("PATCH", f"/keys/{key['id']}", {"note": "a"}, If_Match='"1"').headers["ETag"] == '"2"'
    assert admins.ask("PATCH", f"/keys/{key['id']}", {"note": "b"}, If_Match='"1"').status_code == 412
    assert admins.ask("PATCH", f"/keys/{key['id']}", {"note": "b"}, If_Match="x").status_code == 400
    assert admins.ask("GET", f"/keys/{key['id']}").json["note"] == "a"


def test_a_key_lives_is_disabled_enabled_and_revoked(admins: AdminClient) -> None:
    key = admins.make(name="web")
    told = []
    for method, path in (("POST", "/disable"), ("POST", "/enable"), ("DELETE", "")):
        told.append(admins.status(key["secret"]))
        assert admins.ask(method, f"/keys/{key['id']}{path}").status_code == 200
    assert [*told, admins.status(key["secret"])] == [200, "key_disabled", 200, "invalid_api_key"]
    answer = admins.ask("POST", f"/keys/{key['id']}/enable")
    assert (answer.status_code, answer.json["error"]["code"]) == (409, "key_is_revoked")


def test_a_key_has_its_models_and_limits_and_those_of_its_team(admins: AdminClient) -> None:
    assert admins.ask("PUT", "/teams/search", {"limits": {"requests": 2}}).status_code == 200
    key = admins.make(models=["mock"], team="search", limits={"requests": 5})
    headers = {"Authorization": f"Bearer {key['secret']}"}
    body = {"messages": [{"role": "user", "content": "Hi"}]}
    calls = [
        admins.http.post("/v1/chat/completions", json={"model": name, **body}, headers=headers)
        for name in ("llama", "mock", "mock", "mock")
    ]
    assert [call.status_code for call in calls] == [403, 200, 200, 429]
    admins.ask("PUT", "/teams/search", {})
    assert (
        admins.http.post("/v1/chat/completions", json={"model": "mock", **body}, headers=headers).status_code
        == 200
    )


def test_the_database_is_for_its_owner_alone(admins: AdminClient, data: Path) -> None:
    admins.make()
    assert data.stat().st_mode & 0o777 == 0o700
    assert not [file for file in data.iterdir() if file.stat().st_mode & 0o077]


def test_another_worker_follows_each_change_at_its_next_call(
    admins: AdminClient, data: Path, store: MemoryStore
) -> None:
    other = AdminClient(data, store)
    key = admins.make()
    assert other.status(key["secret"]) == 200
    admins.ask("POST", f"/keys/{key['id']}/disable")
    assert other.status(key["secret"]) == "key_disabled"


def test_callers_of_the_settings_stay(admins: AdminClient) -> None:
    assert admins.http.get("/v1/models", headers=AUTH).status_code == 200
