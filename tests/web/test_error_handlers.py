"""Tests errors as HTTP responses: worded for the client's API, and WebSockets refused."""

from __future__ import annotations

import pytest
from flask import Flask, abort
from flask.testing import FlaskClient
from kit.calls import AUTH, chat
from kit.web_calls import assert_refused

CHAT = "/v1/chat/completions"


# ---------------------------------------------------------------- errors in Anthropic's format


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens?beta=true", "/v1/v1/messages"])
def test_errors_on_anthropic_paths_suit_both_clients(client: FlaskClient, path: str):
    answer = client.post(path, headers=AUTH, json={})
    assert answer.status_code == 400
    body = answer.json
    assert body is not None
    assert body["type"] == "error"
    assert body["request_id"] == answer.headers["x-request-id"]
    assert body["error"]["type"] == "invalid_request_error"
    assert body["error"]["param"] == "model"
    assert set(body["error"]) == {"message", "type", "param", "code"}
    refused = client.post(path, json={})
    assert refused.status_code == 401
    assert refused.json["error"]["type"] == "authentication_error"  # type: ignore[index]


# ---------------------------------------------------------------- WebSocket

UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "x"}


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/realtime?model=m", "/responses", CHAT, "/x"])
@pytest.mark.parametrize("left_out", ["", "Upgrade", "Sec-WebSocket-Key"])
def test_a_websocket_is_answered_426(client: FlaskClient, path: str, left_out: str):
    headers = {name: value for name, value in UPGRADE.items() if name != left_out}
    answer = client.get(path, headers=AUTH | headers)
    assert answer.status_code == 426
    assert answer.json["error"]["code"] == "websocket_not_offered"  # type: ignore[index]
    assert client.get(path, headers=headers).status_code == 401


def test_an_upgrade_header_does_not_change_known_routes(client: FlaskClient):
    assert client.get("/v1/models", headers=AUTH | UPGRADE).status_code == 200
    assert client.post(CHAT, json=chat("mock"), headers=AUTH | UPGRADE).status_code == 200
    assert client.get("/v1/responses", headers=AUTH | {"Upgrade": "h2c"}).status_code == 405


def test_an_unexpected_exception_is_a_500_without_its_words(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> str:
        raise ZeroDivisionError("a secret of the code")

    app.add_url_rule("/fails", view_func=fail)
    answer = app.test_client().get("/fails", headers=AUTH)
    refused = assert_refused(answer, 500, "internal_error")
    assert "secret" not in answer.text
    assert "your request is not at fault" in refused["message"]
    assert "ZeroDivisionError" in caplog.text


def test_an_exception_of_werkzeug_keeps_its_status(app: Flask) -> None:
    def refuse() -> str:
        abort(418)

    app.add_url_rule("/refuses", view_func=refuse)
    answer = app.test_client().get("/refuses", headers=AUTH)
    assert answer.status_code == 418
    assert answer.json["error"]["message"].startswith("The request was refused")  # type: ignore[index]


def test_a_wrong_method_names_the_right_one(client: FlaskClient) -> None:
    answer = client.get("/v1/embeddings", headers=AUTH)
    assert_refused(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == "POST"
