"""The paths of LiteLLM's keys: off by default, for admins alone, and the fields that map."""

from __future__ import annotations

import time
from hashlib import sha256
from typing import Any

import pytest
from kit.admins import ADMIN, VIEWER, AdminClient
from kit.calls import AUTH
from werkzeug.test import TestResponse

PATHS = ("/key/info?key=x", "/key/list", "/team/info", "/v1/organization/costs?start_time=1")


def ask(admins: AdminClient, method: str, path: str, body: Any = None, **headers: str) -> TestResponse:
    return admins.http.open(path, method=method, json=body, headers={**ADMIN, **headers})


def post(admins: AdminClient, path: str, **body: Any) -> Any:
    answer = ask(admins, "POST", path, body)
    assert answer.status_code == 200, answer.json
    return answer.json


@pytest.mark.parametrize("path", PATHS)
def test_the_paths_are_for_admins_where_compat_names_them(
    both: AdminClient, admins: AdminClient, path: str
) -> None:
    assert ask(admins, "GET", path).status_code == 401  # no such path, so an admin's key is no caller's
    assert both.http.get(path).status_code == 401
    assert both.http.get(path, headers=AUTH).status_code == 404
    assert ask(both, "GET", path, **VIEWER).status_code not in (401, 403)
    spelled = {"RAW_URI": f"/{path}"}
    assert both.http.get(path, headers=ADMIN, environ_overrides=spelled).status_code == 404


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/key/generate", {"soft_budget": 5}, "soft_budget"),
        ("/key/generate", {"max_budget": 5, "budget_duration": "3d"}, "budget_duration"),
        ("/key/generate", {"duration": "soon"}, "duration"),
        ("/key/generate", {"key": "sk-short"}, "key"),
        ("/key/generate", {"metadata": {"app": "x"}}, "metadata"),
        ("/key/generate", {"team_id": "nowhere"}, "team"),
        ("/key/update", {"key_alias": "x"}, "key"),
        ("/team/new", {"models": ["a"], "team_id": "t"}, "models"),
        ("/team/new", {}, "team_id"),
    ],
)
def test_a_field_that_does_not_map_is_refused_by_name(
    both: AdminClient, path: str, body: dict[str, Any], param: str
) -> None:
    answer = ask(both, "POST", path, body)
    assert (answer.status_code, answer.json["error"]["param"]) == (400, param)  # type: ignore[index]
    assert ask(both, "GET", "/key/list").json["keys"] == []  # type: ignore[index]


def test_a_viewer_makes_no_key(both: AdminClient) -> None:
    assert ask(both, "POST", "/key/generate", {}, **VIEWER).status_code == 403


def test_a_key_of_litellms_program_lives(both: AdminClient) -> None:
    post(both, "/team/new", team_alias="search", max_budget=100.5, budget_duration="1mo", tpm_limit=1000)
    made = post(
        both,
        "/key/generate",
        key_alias="web",
        team_id="search",
        models=["mock"],
        max_budget=0.1,
        budget_duration="30d",
        rpm_limit=50,
        duration="30d",
        metadata={"tags": ["env:prod", "beta"]},
        aliases={},
        spend=0,
    )
    secret = made["key"]
    assert made["token"] == sha256(secret.encode()).hexdigest()
    (own,) = both.ask("GET", "/keys").json["data"]  # type: ignore[index]
    assert own["limits"] == {"requests": 50, "budgets": [{"amount": "0.1", "window": "month"}]}
    assert own["tags"] == {"env": "prod", "beta": ""}
    assert abs(own["expires_at"] - time.time() - 30 * 86400) < 60
    for name in (secret, made["token"], own["id"]):
        info = ask(both, "GET", f"/key/info?key={name}").json["info"]  # type: ignore[index]
        assert (info["key_alias"], info["team_id"], info["max_budget"], info["budget_duration"]) == (
            *("web", "search", 0.1, "30d"),
        )
        assert (info["rpm_limit"], info["metadata"], info["blocked"]) == (
            *(50, {"tags": ["env=prod", "beta"]}, False),
        )
    assert post(both, "/key/update", key=secret, rpm_limit=None, tpm_limit=7)["tpm_limit"] == 7
    (own,) = both.ask("GET", "/keys").json["data"]  # type: ignore[index]
    assert own["limits"] == {"tokens": 7, "budgets": [{"amount": "0.1", "window": "month"}]}
    post(both, "/key/block", key=secret)
    assert both.status(secret) == "key_disabled"
    post(both, "/key/unblock", key=made["token"])
    new = post(both, f"/key/{secret}/regenerate")["key"]
    assert (both.status(secret), both.status(new)) == ("invalid_api_key", 200)
    listed = ask(both, "GET", "/key/list?return_full_object=true&team_id=search").json
    assert [key["key_alias"] for key in listed["keys"]] == ["web"]  # type: ignore[index]
    team = ask(both, "GET", "/team/info?team_id=search").json
    assert (team["team_info"]["max_budget"], len(team["keys"])) == (100.5, 1)  # type: ignore[index]
    assert post(both, "/key/delete", keys=[new]) == {"deleted_keys": [new]}
    assert both.status(new) == "invalid_api_key"


def test_a_key_of_the_senders_choice(both: AdminClient) -> None:
    own = "sk-planted-1234567890abcdef"
    assert post(both, "/key/generate", key=own, key_alias="mine")["key"] == own
    assert both.status(own) == 200
    post(both, "/key/delete", key_aliases=["mine"])
    assert both.status(own) == "invalid_api_key"
