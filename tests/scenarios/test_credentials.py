"""Tests missing, wrong and contradictory API keys: each is refused before its body is read."""

from __future__ import annotations

import pytest
from kit.gateways import KEY
from kit.servers import Gateway, Upstream
from kit.wire import head, open_stream, send_raw

pytestmark = pytest.mark.live


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer wrong"},
        {"x_api_key": "wrong"},
        {"authorization": "Basic bGl2ZTprZXk="},
        {"authorization": "Bearer "},
        {"authorization": KEY},
        {"x_api_key": ""},
    ],
)
@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/models", "/v1/circuit-breakers", "/v1/nothing"]
)
def test_a_wrong_key_is_refused_on_every_route(gateway: Gateway, upstream: Upstream, path, headers):
    method = "POST" if path.endswith("completions") else "GET"
    answer = gateway.ask(method, path, **headers)
    assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
    assert answer.error["type"] == "invalid_request_error"
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["x-gateway-error-origin"] == "gateway"
    assert KEY not in answer.body.decode()
    assert upstream.requests() == []


def test_a_missing_key_is_refused(gateway: Gateway):
    answer = send_raw(gateway.port, f"GET /v1/models HTTP/1.1\r\nHost: {gateway.port}\r\n\r\n".encode())
    assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "headers",
    [{"x_api_key": KEY}, {"authorization": f"Bearer {KEY}"}, {"authorization": f"bearer {KEY}"}],
)
def test_either_header_is_accepted(gateway: Gateway, headers):
    assert gateway.ask("GET", "/v1/models", **headers).status == 200


def test_both_headers_with_the_same_key_are_accepted(gateway: Gateway):
    assert gateway.ask("GET", "/v1/models", authorization=f"Bearer {KEY}", x_api_key=KEY).status == 200


@pytest.mark.parametrize(("bearer", "key"), [(KEY, "other"), ("other", KEY), ("one", "two")])
def test_two_different_keys_are_refused(gateway: Gateway, bearer, key):
    answer = gateway.ask("GET", "/v1/models", authorization=f"Bearer {bearer}", x_api_key=key)
    assert answer.status == 400
    assert answer.error["type"] == "invalid_request_error"


def test_a_wrong_key_is_refused_before_the_body_is_read(gateway: Gateway):
    announced = head(gateway.port, "/v1/chat/completions", "wrong", "Content-Length: 10000000")
    answer = send_raw(gateway.port, announced)
    assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")


def test_a_wrong_key_gets_no_stream(gateway: Gateway, upstream: Upstream):
    with open_stream(gateway.port, "wrong", "ok") as stream:
        assert stream.status == 401
        assert stream.headers["content-type"].startswith("application/json")
    assert upstream.requests() == []


def test_health_needs_no_key_and_calls_no_upstream(gateway: Gateway, upstream: Upstream):
    answer = send_raw(gateway.port, f"GET /health HTTP/1.1\r\nHost: {gateway.port}\r\n\r\n".encode())
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("application/json")
    assert upstream.requests() == []
