"""Provides what the tests of the web share: a mocked upstream, a call, and the check of a refusal."""

from __future__ import annotations

import json
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from kit.calls import AUTH

URL = "http://llama.test/v1/chat/completions"
PATH = "/v1/chat/completions"
OK = {"id": "1", "object": "chat.completion", "model": "llama", "choices": [{"index": 0}]}


def post(client: FlaskClient, body: Any, path: str = PATH, **headers: str) -> TestResponse:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"Content-Type": "application/json", **AUTH}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(path, data=data, headers=given)


def assert_refused(response: TestResponse, status: int, code: str | None) -> dict[str, Any]:
    assert response.status_code == status, response.data
    assert response.content_type == "application/json"
    assert response.headers["x-request-id"]
    assert response.headers["x-gateway-error-origin"] == "gateway"
    error = response.json["error"]  # type: ignore[index]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code, error
    assert error["message"].endswith(".")
    return dict(error)


class BrokenInput:
    """A body whose read raises an exception."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def read(self, size: int = -1) -> bytes:
        raise self.error


def breakers(client: FlaskClient) -> dict[str, Any]:
    listed = client.get("/v1/circuit-breakers", headers=AUTH).json
    return {breaker["upstream"]: breaker for breaker in listed["data"] if "model" not in breaker}  # type: ignore[index]
