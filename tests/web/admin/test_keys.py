"""/admin/v1/keys, /teams and /audit: faults first, then the life of a key. Cases 22, 47 and 49 of keys.md."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from kit.admins import AdminClient
from kit.calls import AUTH
from kit.planted import KEY

from flask_gateway.model.limits import Limits, OwnerLimits
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


def test_a_secret_of_another_key_or_of_the_settings_is_refused(admins: AdminClient) -> None:
    digest = sha256(b"planted-other-key").hexdigest()
    assert admins.ask("POST", "/keys", {"sha256": digest}).status_code == 201
    for taken in (digest, sha256(KEY.encode()).hexdigest()):
        answer = admins.ask("POST", "/keys", {"sha256": taken})
        assert (answer.status_code, answer.json["error"]["code"]) == (409, "secret_taken")
    assert len(admins.ask("GET", "/keys").json["data"]) == 1


def test_a_name_is_given_once_until_its_key_is_revoked(admins: AdminClient) -> None:
    first = admins.make(name="web")
    assert admins.ask("POST", "/keys", {"name": "web"}).json["error"]["code"] == "name_taken"
    admins.ask("DELETE", f"/keys/{first['id']}")
    assert admins.make(name="web")["id"] != first["id"]


def test_a_key_is_made_once_for_an_idempotency_key(admins: AdminClient) -> None:
    first = admins.ask("POST", "/keys", {"note": "a"}, Idempotency_Key="one")
    again = admins.ask("POST", "/keys", {"note": "a"}, Idempotency_Key="one")
    other = admins.ask("POST", "/keys", {"note": "b"}, Idempotency_Key="one")
    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 409)
    assert again.json["id"] == first.json["id"]
    assert (again.json["secret"], again.json["replayed"]) == (None, True)
    assert len(admins.ask("GET", "/keys").json["data"]) == 1


def test_a_change_for_an_old_version_is_refused(admins: AdminClient) -> None:
    key = admins.make()
    assert admins.ask("PATCH", f"/keys/{key['id']}", {"note": "a"}, If_Match='"1"').headers["ETag"] == '"2"'
    assert admins.ask("PATCH", f"/keys/{key['id']}", {"note": "b"}, If_Match='"1"').status_code == 412
    assert admins.ask("PATCH", f"/keys/{key['id']}", {"note": "b"}, If_Match="x").status_code == 400
    assert admins.ask("GET", f"/keys/{key['id']}").json["note"] == "a"


def test_a_change_of_one_field_leaves_the_others(admins: AdminClient) -> None:
    key = admins.make(name="web", models=["mock"], tags={"env": "prod"}, limits={"requests": 7})
    changed = admins.ask("PATCH", f"/keys/{key['id']}", {"models": None}).json
    assert changed == {**{name: key[name] for name in changed}, "models": None, "version": 2}


def test_put_by_name_makes_a_key_and_then_gives_it_exactly_the_fields(admins: AdminClient) -> None:
    made = admins.ask("PUT", "/keys/by-name/web", {"models": ["mock"], "note": "a"})
    changed = admins.ask("PUT", "/keys/by-name/web", {"note": "b"})
    assert (made.status_code, changed.status_code) == (201, 200)
    assert (changed.json["id"], changed.json["models"], changed.json["secret"]) == (
        made.json["id"],
        None,
        None,
    )
    assert admins.status(made.json["secret"]) == 200


def test_a_key_lives_is_disabled_enabled_and_revoked(admins: AdminClient) -> None:
    key = admins.make(name="web")
    told = []
    for method, path in (("POST", "/disable"), ("POST", "/enable"), ("DELETE", "")):
        told.append(admins.status(key["secret"]))
        assert admins.ask(method, f"/keys/{key['id']}{path}").status_code == 200
    assert [*told, admins.status(key["secret"])] == [200, "key_disabled", 200, "invalid_api_key"]
    answer = admins.ask("POST", f"/keys/{key['id']}/enable")
    assert (answer.status_code, answer.json["error"]["code"]) == (409, "key_is_revoked")


def test_a_rotated_key_has_two_secrets_for_the_overlap(admins: AdminClient) -> None:
    key = admins.make()
    rotated = admins.ask("POST", f"/keys/{key['id']}/rotate", {"overlap": 3600}).json
    assert rotated["id"] == key["id"]
    assert [admins.status(secret) for secret in (key["secret"], rotated["secret"])] == [200, 200]
    last = admins.ask("POST", f"/keys/{key['id']}/rotate", {"overlap": 0}).json
    told = [admins.status(one["secret"]) for one in (key, rotated, last)]
    assert told == ["invalid_api_key", "invalid_api_key", 200]
    assert len(last["secrets"]) == 1


def test_a_key_has_at_most_four_secrets(admins: AdminClient) -> None:
    key = admins.make()
    statuses = [admins.ask("POST", f"/keys/{key['id']}/rotate").status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 409]


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


def test_keys_of_a_team_that_left_the_settings_are_refused_and_never_unlimited(
    data: Path, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    limits = OwnerLimits(own=Limits(requests=1))
    before = AdminClient(data, store, teams={"search": limits})
    key, other = before.make(team="search"), before.make()
    assert before.status(key["secret"]) == 200
    after = AdminClient(data, store)
    assert [after.status(key["secret"]) for _ in range(3)] == ["keys_unavailable"] * 3
    assert after.status(other["secret"]) == 200
    assert caplog.text.count("the team 'search' is set nowhere") == 1
    assert after.ask("PATCH", f"/keys/{key['id']}", {"team": None}).status_code == 200
    assert after.status(key["secret"]) == 200


def test_a_team_with_keys_is_deleted_with_them_only(admins: AdminClient) -> None:
    admins.ask("PUT", "/teams/search", {})
    key = admins.make(team="search")
    assert admins.ask("DELETE", "/teams/search").json["error"]["code"] == "team_has_keys"
    assert admins.ask("DELETE", "/teams/search?revoke_keys=true").status_code == 200
    assert admins.status(key["secret"]) == "invalid_api_key"


def test_keys_are_listed_by_pages_and_filters(admins: AdminClient) -> None:
    ids = [admins.make(name=f"place-{place}", tags={"env": "ab"[place % 2]})["id"] for place in range(5)]
    pages, after = [], ""
    while True:
        page = admins.ask("GET", f"/keys?limit=2{after}").json
        pages += [key["id"] for key in page["data"]]
        after = f"&after={page['last_id']}"
        if not page["has_more"]:
            break
    assert pages == ids
    assert [key["id"] for key in admins.ask("GET", "/keys?tag=env=b").json["data"]] == ids[1::2]
    assert [key["id"] for key in admins.ask("GET", "/keys?q=place-3").json["data"]] == [ids[3]]
    assert admins.ask("GET", "/keys?state=revoked").json["data"] == []


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


def test_a_new_key_of_a_team_has_the_limits_that_the_team_gives_new_keys(
    data: Path, store: MemoryStore
) -> None:
    policy = OwnerLimits(key_defaults={"requests": 7})
    admins = AdminClient(data, store, teams={"fixed": policy})
    wrong = admins.ask("PUT", "/teams/search", {"limits": {"key_defaults": {"request": 5}}})
    assert (wrong.status_code, wrong.json["error"]["param"]) == (400, "limits")
    defaults = {"requests": 5, "budgets": [{"amount": "2", "window": "day"}]}
    assert admins.ask("PUT", "/teams/search", {"limits": {"key_defaults": defaults}}).status_code == 200
    assert admins.make(team="search")["limits"] == defaults
    assert admins.make(team="search", limits={"requests": 9})["limits"] == {**defaults, "requests": 9}
    assert admins.make(team="fixed")["limits"] == {"requests": 7}
    assert admins.make()["limits"] == {}
    kept = admins.make(team="search", limits={"tokens": 1})
    assert "budgets" in admins.ask("PATCH", f"/keys/{kept['id']}", {"note": "x"}).json["limits"]
    assert admins.ask("PATCH", f"/keys/{kept['id']}", {"limits": {}}).json["limits"] == {}
