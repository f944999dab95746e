"""The usage of an organization in OpenAI's shape: wrong parameters first, then buckets."""

from __future__ import annotations

import time
from typing import Any

import pytest
from kit.admins import ADMIN, AdminClient
from kit.waiting import until
from werkzeug.test import TestResponse


def ask(admins: AdminClient, method: str, path: str, body: Any = None, **headers: str) -> TestResponse:
    return admins.http.open(path, method=method, json=body, headers={**ADMIN, **headers})


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
