"""The paths of LiteLLM's keys and of OpenAI's usage: off by default, for admins alone, and what maps."""

from __future__ import annotations

import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from kit.admins import ADMIN, VIEWER, AdminClient
from kit.calls import AUTH
from kit.waiting import until
from werkzeug.test import TestResponse

from flask_gateway.model.price_override import PriceOverride
from flask_gateway.state.memory import MemoryStore

#: A cent for each call.
PRICE = PriceOverride(rates={"input": 0, "output": 0, "requests": 10_000_000_000})
PATHS = ("/key/info?key=x", "/key/list", "/team/info", "/v1/organization/costs?start_time=1")


@pytest.fixture
def both(data: Path, store: MemoryStore) -> AdminClient:
    return AdminClient(data, store, compat=("litellm", "openai"), prices={"mock/mock": PRICE})


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


@pytest.mark.parametrize(
    "query",
    [
        "",
        "start_time=x",
        "start_time=1&bucket_width=1m",
        "start_time=1&group_by=user_id",
        "start_time=1&limit=32",
        "start_time=1&models=a",
        "start_time=1&more=1",
    ],
)
def test_wrong_parameters_of_usage_are_refused(both: AdminClient, query: str) -> None:
    assert ask(both, "GET", f"/v1/organization/usage/completions?{query}").status_code == 400


def test_usage_and_costs_in_openais_buckets(both: AdminClient) -> None:
    key = both.make(name="web")
    for _ in range(3):
        assert both.chat(key["secret"]).status_code == 200
    assert until(lambda: len(both.ask("GET", "/charges").json.get("data", ())) == 3)  # type: ignore[union-attr]
    start = int(time.time()) - 86_400

    def page(path: str, **query: Any) -> Any:
        text = "&".join(f"{name}={value}" for name, value in {"start_time": start, **query}.items())
        return ask(both, "GET", f"/v1/organization/{path}?{text}").json

    days = page("usage/completions", group_by="model,api_key_id")["data"]
    lengths = {(day["start_time"] % 86_400, day["end_time"] - day["start_time"]) for day in days}
    assert lengths == {(0, 86_400)}
    (result,) = [result for day in days for result in day["results"]]
    assert (result["num_model_requests"], result["model"], result["api_key_id"]) == (3, "mock", key["id"])
    assert (result["project_id"], result["input_tokens"] > 0, result["output_tokens"] > 0) == (
        None,
        True,
        True,
    )
    (cost,) = [result for day in page("costs")["data"] for result in day["results"]]
    assert (cost["amount"], cost["line_item"]) == ({"value": 0.03, "currency": "usd"}, None)
    first = page("usage/completions", bucket_width="1h", limit=1)
    assert (len(first["data"]), first["has_more"]) == (1, True)
    rest = page("usage/completions", bucket_width="1h", page=first["next_page"], limit=168)
    counted = sum(result["num_model_requests"] for hour in rest["data"] for result in hour["results"])
    assert (counted, rest["has_more"], rest["next_page"]) == (3, False, None)
