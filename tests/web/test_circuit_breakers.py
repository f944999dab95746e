"""Tests ``/v1/circuit-breakers``: who sees which breaker, who may allow a probe, the state of the store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from kit.calls import AUTH
from kit.web_calls import assert_refused

from flask_gateway.config.schema import KeySettings
from flask_gateway.config.secrets import digest
from flask_gateway.guards.breaker import Breaker

LIST = "/v1/circuit-breakers"
OPERATOR = "an-operators-key-of-a-test"
METRICS = hashlib.sha256(OPERATOR.encode()).digest()


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def upstreams(client: FlaskClient, headers: dict[str, str]) -> set[str]:
    return {breaker["upstream"] for breaker in client.get(LIST, headers=headers).json["data"]}  # type: ignore[index]


def test_the_list_has_the_state_of_the_store_and_the_streams(client: FlaskClient) -> None:
    page = client.get(LIST, headers=AUTH).json
    assert page is not None
    assert page["object"] == "list"
    assert page["state"]["store"] in ("memory", "shared")
    assert page["streams"] == {"live": 0}
    assert {breaker["state"] for breaker in page["data"]} == {"CLOSED"}


def test_a_key_for_some_models_sees_the_breakers_of_those_alone(
    make_client: Callable[..., FlaskClient],
) -> None:
    keys = (
        KeySettings(id="all", digest=digest("key-of-all-1")),
        KeySettings(id="none", digest=digest("key-of-none"), models=frozenset({"no-such-model"})),
    )
    client = make_client(keys=keys, unlisted_models=())
    assert upstreams(client, bearer("key-of-all-1"))
    assert upstreams(client, bearer("key-of-none")) == set()


def test_a_caller_with_a_metrics_key_set_may_not_allow_a_probe(
    make_client: Callable[..., FlaskClient],
) -> None:
    client = make_client(metrics_digest=METRICS)
    (name, *_) = upstreams(client, AUTH)
    path = f"{LIST}/{name}/try"
    refused = assert_refused(client.post(path, headers=AUTH), 403, "operator_only")
    assert "GATEWAY_METRICS_KEY" in refused["message"]
    assert client.post(path, headers=bearer(OPERATOR)).status_code == 200


def test_without_a_metrics_key_this_machine_may(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    monkeypatch.setattr(Breaker, "try_now", lambda breaker: tried.append(breaker.upstream))
    (name, *_) = upstreams(client, AUTH)
    answer = client.post(f"{LIST}/{name}/try", headers=AUTH)
    assert (answer.status_code, set(tried)) == (200, {name})  # an upstream may have breakers of its models
    before = len(tried)
    elsewhere = client.post(f"{LIST}/{name}/try", headers=AUTH, environ_base={"REMOTE_ADDR": "10.0.0.9"})
    assert_refused(elsewhere, 403, "operator_only")
    assert len(tried) == before


def test_an_upstream_that_does_not_exist_is_named_with_the_list_of_those_that_do(client: FlaskClient) -> None:
    refused = assert_refused(client.post(f"{LIST}/nowhere/try", headers=AUTH), 404, "upstream_not_found")
    assert "'nowhere'" in refused["message"]
    assert LIST in refused["message"]
