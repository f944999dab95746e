"""Requests for a WebSocket that are refused by HTTP: what is missing, and where it is offered."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from kit.calls import AUTH
from kit.planted import KEY
from kit.web_calls import assert_refused

from flask_gateway.config.schema import UpstreamSettings
from flask_gateway.model.call import Operation

UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
URL = "/v1/realtime?model=voice"


@pytest.fixture
def offering(make_client: Callable[..., FlaskClient]) -> FlaskClient:
    speaks = frozenset({Operation.CHAT, Operation.REALTIME})
    live = UpstreamSettings(name="live", url="http://live.test/v1", speaks=speaks)
    return make_client(upstreams=(live,), models=(), default_upstream="live")


@pytest.mark.parametrize("path", [URL, "/v1/responses"])
def test_where_no_upstream_speaks_it_a_websocket_is_a_426(client: FlaskClient, path: str):
    assert_refused(client.get(path, headers={**AUTH, **UPGRADE}), 426, "websocket_not_offered")


def test_other_paths_stay_as_they_were(client: FlaskClient, offering: FlaskClient):
    assert_refused(client.get(URL, headers=AUTH), 400, "not_offered")
    assert_refused(offering.get("/v1/responses", headers=AUTH), 405, "method_not_allowed")
    assert_refused(offering.get("/v1/responses", headers={**AUTH, **UPGRADE}), 426, "websocket_not_offered")


@pytest.mark.parametrize(
    ("url", "headers", "param"),
    [
        (URL, {}, "Upgrade"),
        ("/v1/realtime", UPGRADE, "model"),
        (URL, {**UPGRADE, "Sec-WebSocket-Version": "8"}, "Sec-WebSocket-Key"),
        (URL, {**UPGRADE, "Sec-WebSocket-Key": "short"}, "Sec-WebSocket-Key"),
    ],
)
def test_a_request_that_is_no_upgrade_says_what_is_missing(
    offering: FlaskClient, url: str, headers: dict[str, str], param: str
):
    response = offering.get(url, headers={**AUTH, **headers})
    assert_refused(response, 400, None)
    assert response.json is not None
    assert response.json["error"]["param"] == param


def test_a_server_that_relays_no_session_says_so(offering: FlaskClient):
    response = offering.get(URL, headers={**AUTH, **UPGRADE})
    assert_refused(response, 426, "websocket_not_offered")


def test_a_key_may_come_as_a_subprotocol(offering: FlaskClient):
    protocols = f"realtime, openai-insecure-api-key.{KEY}"
    response = offering.get(URL, headers={**UPGRADE, "Sec-WebSocket-Protocol": protocols})
    assert response.status_code == 426
    wrong = offering.get(URL, headers={**UPGRADE, "Sec-WebSocket-Protocol": "openai-insecure-api-key.x"})
    assert_refused(wrong, 401, "invalid_api_key")


@pytest.mark.parametrize("path", ["/v1/models", "/v1/key", "/v1/chat/completions"])
def test_a_key_as_a_subprotocol_counts_at_the_paths_of_sessions_alone(offering: FlaskClient, path: str):
    headers = {**UPGRADE, "Sec-WebSocket-Protocol": f"openai-insecure-api-key.{KEY}"}
    assert_refused(offering.get(path, headers=headers), 401, "invalid_api_key")
