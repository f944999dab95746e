"""Checks which models each key sees, and which upstream gets each call."""

from __future__ import annotations

import json

import pytest
from kit.servers import Gateway, Upstream

pytestmark = pytest.mark.live


def listed(gateway: Gateway, key: str) -> set[str]:
    answer = gateway.ask("GET", "/v1/models", x_api_key=key)
    assert answer.json["object"] == "list"
    for item in answer.json["data"]:
        assert item["object"] == "model"
        assert isinstance(item["created"], int)
        assert isinstance(item["owned_by"], str)
    return {item["id"] for item in answer.json["data"]}


def test_models_and_upstreams_are_listed(strict: Gateway):
    assert {"fast", "mock", "scripted"} <= listed(strict, "key-free")


def test_a_key_sees_only_the_models_it_may_call(strict: Gateway):
    assert listed(strict, "key-narrow") == {"mock", "scripted"}


def test_one_model_is_found_by_its_name(strict: Gateway):
    answer = strict.ask("GET", "/v1/models/fast")
    assert answer.status == 200
    assert (answer.json["id"], answer.json["object"]) == ("fast", "model")


@pytest.mark.parametrize(
    ("key", "name"), [("key-narrow", "nothing"), ("key-narrow", "a/b"), ("key-narrow", "fast")]
)
def test_a_model_of_another_key_is_a_404(strict: Gateway, key, name):
    answer = strict.ask("GET", f"/v1/models/{name}", x_api_key=key)
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("name", ["gpt-4o", "a/b", "scripted/x"])
def test_a_callable_model_is_found_without_being_listed(strict: Gateway, name):
    answer = strict.ask("GET", f"/v1/models/{name}", x_api_key="key-free")
    assert (answer.status, answer.json["id"], answer.json["owned_by"]) == (200, name, "scripted")
    assert name not in listed(strict, "key-free")


def test_a_key_may_not_call_other_models(strict: Gateway, upstream: Upstream):
    answer = strict.chat("fast", headers={"x_api_key": "key-narrow"})
    assert (answer.status, answer.error["code"]) == (403, "model_not_allowed")
    assert answer.error["type"] == "permission_error"
    assert upstream.requests() == []
    assert strict.chat("mock", headers={"x_api_key": "key-narrow"}).status == 200


@pytest.mark.parametrize(
    ("asked", "arrives"),
    [("fast", "ok,tokens=1"), ("scripted/ok", "ok"), ("scripted", "scripted"), ("unheard-of", "unheard-of")],
)
def test_the_upstream_receives_its_own_name_of_the_model(strict: Gateway, upstream: Upstream, asked, arrives):
    assert strict.chat(asked).status == 200
    body = json.loads(upstream.last()["body"])
    assert body["model"] == arrives
    assert upstream.last()["body"].count('"model"') == 1


def test_a_mock_answers_without_a_server(strict: Gateway, upstream: Upstream):
    answer = strict.chat("mock")
    assert answer.json["choices"][0]["message"]["content"].startswith("Mock answer from mock")
    assert answer.headers["x-gateway-upstream"] == "mock"
    assert upstream.requests() == []
