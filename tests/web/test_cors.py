"""Tests CORS: pages of allowed origins may call the gateway, and none by default."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from kit.calls import AUTH, chat
from werkzeug.test import TestResponse

from flask_gateway.config.errors import ConfigError
from flask_gateway.config.load import resolve

CHAT = "/v1/chat/completions"
PAGE = "https://app.example.org"
ASKS = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,x-stainless-lang",
}


def access(answer: TestResponse) -> dict[str, str]:
    """The CORS headers of a response, by their names without the common prefix."""
    found = {name.lower(): value for name, value in answer.headers}
    return {
        name.removeprefix("access-control-"): value
        for name, value in found.items()
        if name.startswith("access-control-")
    }


@pytest.fixture
def client(make_client: Callable[..., FlaskClient]) -> FlaskClient:
    return make_client(cors_origins=(PAGE, "http://localhost:3000"))


@pytest.mark.parametrize("origin", [PAGE, "http://localhost:3000"])
@pytest.mark.parametrize("path", [CHAT, "/v1/models", "/chat/completions", "/v1/models/mock"])
def test_a_preflight_is_answered_without_a_key(client: FlaskClient, origin: str, path: str):
    answer = client.options(path, headers={"Origin": origin, **ASKS})
    assert (answer.status_code, answer.data) == (204, b"")
    assert access(answer) == {
        "allow-origin": origin,
        "allow-methods": "GET, POST",
        "allow-headers": ASKS["Access-Control-Request-Headers"],
        "max-age": "7200",
        "expose-headers": access(answer)["expose-headers"],
    }
    assert answer.headers["Vary"] == "Origin"


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", PAGE + ".evil", "http://app.example.org", "*"]
)
def test_a_preflight_from_another_origin_is_refused(client: FlaskClient, origin: str):
    answer = client.options(CHAT, headers={"Origin": origin, **ASKS})
    assert answer.status_code == 403
    assert answer.json["error"]["code"] == "origin_not_allowed"  # type: ignore[index]
    assert access(answer) == {}
    assert answer.headers["Vary"] == "Origin"


def test_options_without_preflight_headers_need_a_key(client: FlaskClient):
    assert client.options(CHAT).status_code == 401
    assert client.options(CHAT, headers={"Origin": PAGE}).status_code == 401
    assert client.options(CHAT, headers=AUTH).status_code == 405


@pytest.mark.parametrize(
    ("method", "path", "body", "key", "status"),
    [
        ("POST", CHAT, chat("mock"), AUTH, 200),
        ("POST", CHAT, chat("mock", stream=True), AUTH, 200),
        ("GET", "/v1/models", None, AUTH, 200),
        ("POST", CHAT, chat("mock"), {}, 401),
        ("POST", CHAT, {}, AUTH, 400),
        ("GET", "/v1/x", None, AUTH, 404),
        ("GET", CHAT, None, AUTH, 405),
        ("GET", "/health", None, {}, 200),
    ],
)
def test_pages_may_read_every_response_including_errors(
    client: FlaskClient, method: str, path: str, body: Any, key: dict[str, str], status: int
):
    answer = client.open(path, method=method, json=body, headers={"Origin": PAGE, **key})
    assert answer.status_code == status
    assert access(answer)["allow-origin"] == PAGE
    exposed = access(answer)["expose-headers"].lower().split(", ")
    ours = [name.lower() for name, _ in answer.headers if name.lower().startswith(("x-r", "x-gateway-u"))]
    assert set(ours) <= set(exposed)
    assert {"retry-after", "retry-after-ms", "x-should-retry", "x-gateway-error-origin"} <= set(exposed)
    assert "allow-credentials" not in access(answer)
    assert "Origin" in answer.headers["Vary"]
    other = client.open(path, method=method, json=body, headers={"Origin": "https://evil.example", **key})
    assert (other.status_code, access(other)) == (status, {})
    assert "Origin" in other.headers["Vary"]
    assert access(client.open(path, method=method, json=body, headers=key)) == {}


def test_all_origins(make_client: Callable[..., FlaskClient]):
    client = make_client(cors_origins=("*",))
    answer = client.post(CHAT, json=chat("mock"), headers={"Origin": "null", **AUTH})
    assert access(answer)["allow-origin"] == "*"
    answer = client.options(CHAT, headers={"Origin": "app://x", **ASKS})
    assert (answer.status_code, access(answer)["allow-origin"]) == (204, "*")


def test_odd_preflights(client: FlaskClient):
    odd = {**ASKS, "Origin": PAGE, "Access-Control-Request-Headers": "a b;c"}
    assert "allow-headers" not in access(client.options(CHAT, headers=odd))
    private = {**ASKS, "Origin": PAGE, "Access-Control-Request-Private-Network": "true"}
    assert access(client.options(CHAT, headers=private))["allow-private-network"] == "true"


def test_cors_is_off_by_default(make_client: Callable[..., FlaskClient]):
    client = make_client()
    for answer in (
        client.options(CHAT, headers={"Origin": PAGE, **ASKS}),
        client.post(CHAT, json=chat("mock"), headers={"Origin": PAGE, **AUTH}),
    ):
        assert access(answer) == {}
        assert "Vary" not in answer.headers


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("", ()),
        (PAGE, (PAGE,)),
        (f" {PAGE} ,http://localhost:3000, {PAGE}", (PAGE, "http://localhost:3000")),
        ("HTTPS://App.Example.org:443", (PAGE,)),
        ("http://[::1]:80,https://a:8443", ("http://[::1]", "https://a:8443")),
        ("*", ("*",)),
        ("app://obsidian.md,chrome-extension://abc", ("app://obsidian.md", "chrome-extension://abc")),
    ],
)
def test_the_setting(text: str, origins: tuple[str, ...]):
    assert resolve({"GATEWAY_CORS_ORIGINS": text}).settings.cors_origins == origins


@pytest.mark.parametrize(
    "text", ["app.example.org", f"{PAGE}/", f"{PAGE}/x", "null", "https://*.a.org", '"*"', "a b"]
)
def test_an_invalid_origin_in_the_setting_is_refused(text: str):
    with pytest.raises(ConfigError, match=r"https://app\.example\.org, or"):
        resolve({"GATEWAY_CORS_ORIGINS": text})
