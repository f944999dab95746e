"""The paths of stored responses, at an upstream that is mocked."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from flask.testing import FlaskClient
from kit.calls import AUTH
from kit.planted import KEY
from kit.upstream_mock import UpstreamMock
from kit.web_calls import assert_refused, post

from flask_gateway.config.schema import KeySettings, UpstreamSettings
from flask_gateway.model.limits import Limits, OwnerLimits

URL = "http://llama.test/v1/responses"
RESPONSE = {"id": "resp_1", "object": "response", "status": "completed", "output": []}


def made(upstream: UpstreamMock, client: FlaskClient, **fields: Any) -> None:
    upstream.post(URL, json=RESPONSE)
    assert post(client, {"model": "llama", "input": "Hi", **fields}, "/v1/responses").status_code == 200


@pytest.mark.parametrize(
    ("method", "action"), [("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")]
)
def test_a_response_of_this_key_is_reached(client: FlaskClient, method: str, action: str) -> None:
    with UpstreamMock() as upstream:
        made(upstream, client)
        upstream.add(method, f"{URL}/resp_1{action}", json={"id": "resp_1"})
        answer = client.open(f"/v1/responses/resp_1{action}?limit=2", method=method, headers=AUTH)
        assert answer.json == {"id": "resp_1"}
        assert upstream.calls[-1].request.url == f"{URL}/resp_1{action}?limit=2"
    assert answer.headers["x-gateway-upstream"] == "llama"
    assert answer.content_type == "application/json"


def test_a_response_that_is_not_stored_is_not_remembered(client: FlaskClient) -> None:
    with UpstreamMock() as upstream:
        made(upstream, client, store=False)
        assert_refused(client.get("/v1/responses/resp_1", headers=AUTH), 404, "response_not_found")


def test_another_key_and_an_odd_id_are_refused(client: FlaskClient) -> None:
    with UpstreamMock() as upstream:
        made(upstream, client)
        other = {"Authorization": "Bearer other-key"}
        assert_refused(client.get("/v1/responses/resp_1", headers=other), 404, "response_not_found")
    assert_refused(client.get("/v1/responses/a.b", headers=AUTH), 400, None)
    assert_refused(client.get("/v1/responses/resp_1?a=<", headers=AUTH), 400, None)


def test_fetching_uses_requests_and_no_tokens(
    make_client: Callable[..., FlaskClient],
) -> None:
    policy = OwnerLimits(own=Limits(tokens=100_000, requests=3))
    key = KeySettings(id="web", digest=sha256(KEY.encode()).digest(), policy=policy)
    upstreams = (UpstreamSettings(name="llama", url="http://llama.test/v1"),)
    client = make_client(keys=(key,), upstreams=upstreams, models=())
    with UpstreamMock() as upstream:
        made(upstream, client)
        upstream.get(f"{URL}/resp_1", json=RESPONSE)
        answers = [client.get("/v1/responses/resp_1", headers=AUTH) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert "x-ratelimit-limit-tokens" not in answers[0].headers
