"""Tests API keys: every route needs one, and wrong keys are counted."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import pytest
from flask import Flask
from flask.testing import FlaskClient
from kit.calls import AUTH, chat
from kit.planted import KEY
from kit.web_calls import PATH, BrokenInput, assert_refused, post

from flask_gateway.config.schema import (
    KeySettings,
)

# ------------------------------------------------------------------ authentication


@pytest.mark.parametrize("path", [PATH, "/v1/models", "/v1/circuit-breakers", "/nothing", "/v1/embeddings"])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_every_route_needs_a_key(client: FlaskClient, path: str, method: str) -> None:
    response = client.open(path, method=method)
    assert_refused(response, 401, "invalid_api_key")
    assert response.headers["WWW-Authenticate"] == "Bearer"


def test_no_route_is_public_that_is_not_meant_to_be(app: Flask, client: FlaskClient) -> None:
    public = set()
    for rule in app.url_map.iter_rules():
        for method in rule.methods or ():
            path = rule.rule.replace("<path:name>", "x").replace("<path:model>", "x")
            answer = client.open(path, method=method, environ_base={"REMOTE_ADDR": "192.0.2.1"})
            if answer.status_code != 401:
                public.add(rule.rule)
    public_ones = {"/health", "/health/liveliness", "/readyz", "/health/readiness", "/openapi.json"}
    public_ones |= {"/", "/api/hello"}  # to HEAD alone
    assert public == public_ones


def test_the_key_is_checked_before_the_body_is_read(client: FlaskClient) -> None:
    response = client.post(PATH, environ_overrides={"wsgi.input": BrokenInput(AssertionError("read"))})
    assert_refused(response, 401, "invalid_api_key")


def test_two_keys_that_differ_are_a_400(client: FlaskClient) -> None:
    assert_refused(post(client, chat(), X_API_Key="other-key"), 400, "ambiguous_credentials")


def test_a_key_may_be_limited_to_some_models(client: FlaskClient) -> None:
    headers = {"Authorization": "Bearer other-key"}
    assert (
        assert_refused(post(client, chat("llama"), **headers), 403, "model_not_allowed")["param"] == "model"
    )
    assert post(client, chat("mock"), **headers).status_code == 200
    assert [m["id"] for m in client.get("/v1/models", headers=headers).json["data"]] == ["mock"]  # type: ignore[index]
    assert client.get("/v1/models/llama", headers=headers).status_code == 404


# ------------------------------------------------------------------ wrong keys


def test_wrong_metrics_keys_are_counted_and_right_ones_always_pass(
    make_client: Callable[..., FlaskClient],
) -> None:
    client = make_client(metrics_digest=sha256(b"figures").digest(), failed_keys_per_minute=3)
    figures = {"X-API-Key": "figures"}
    assert client.get("/metrics", headers=figures).status_code == 200
    statuses = [client.get("/metrics", headers={"X-API-Key": f"guess-{n}"}).status_code for n in range(5)]
    assert statuses == [401] * 3 + [429] * 2
    assert client.get("/metrics", headers=figures).status_code == 200
    assert client.get("/v1/models", headers=AUTH).status_code == 200
    # A request without a key is not counted.
    assert client.get("/v1/models").status_code == 401
    assert client.get("/health").status_code == 200


@pytest.mark.parametrize("forwarded", ["6.6.6.6, 203.0.113.9", "unknown", None])
def test_wrong_keys_through_a_proxy_that_sends_no_address_block_nobody(
    make_client: Callable[..., FlaskClient], forwarded: str | None
) -> None:
    client = make_client(failed_keys_per_minute=3)
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    for number in range(9):
        guess = client.get(
            "/v1/models",
            headers={"X-API-Key": f"guess-{number}", **headers},
            environ_base={"REMOTE_ADDR": ""},
        )
        assert guess.status_code == 401
        assert guess.headers["x-gateway-address"] == "unknown"
    right = client.get("/v1/models", headers={**AUTH, **headers}, environ_base={"REMOTE_ADDR": ""})
    assert right.status_code == 200


# ------------------------------------------------------------------ the public development key


@pytest.mark.parametrize(
    ("peer", "forwarded", "status"),
    [
        ("127.0.0.1", None, 200),
        ("127.8.8.8", None, 200),
        ("::1", None, 200),
        ("::ffff:127.0.0.1", None, 200),
        ("", None, 200),  # a Unix socket
        ("127.0.0.1", "127.0.0.1", 200),
        ("203.0.113.9", None, 401),
        ("10.0.0.1", None, 401),
        ("2001:db8::1", None, 401),
        ("203.0.113.9", "127.0.0.1", 401),
        ("127.0.0.1", "203.0.113.9", 401),
        ("127.0.0.1", "127.0.0.1, 203.0.113.9", 401),
        ("", "203.0.113.9", 401),
    ],
)
@pytest.mark.parametrize("header", ["X-API-Key", "api-key", "Authorization"])
def test_the_dev_key_is_accepted_from_this_machine_only(
    make_client: Callable[..., FlaskClient], peer: str, forwarded: str | None, status: int, header: str
) -> None:
    dev = KeySettings(id="dev", digest=sha256(b"dev-key").digest())
    own = KeySettings(id="own", digest=sha256(KEY.encode()).digest())
    client = make_client(keys=(dev, own))
    more = {"X-Forwarded-For": forwarded} if forwarded else {}
    environ = {"REMOTE_ADDR": peer}
    given = {header: "Bearer dev-key" if header == "Authorization" else "dev-key"}
    answer = client.get("/v1/models", headers=given | more, environ_base=environ)
    assert answer.status_code == status
    if status == 401:
        assert "GATEWAY_API_KEYS" in assert_refused(answer, 401, "invalid_api_key")["message"]
    assert client.get("/v1/models", headers=AUTH | more, environ_base=environ).status_code == 200
