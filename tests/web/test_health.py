"""``/health`` and ``/readyz``, while the process serves and while it drains."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from kit.calls import AUTH, chat


@pytest.fixture
def draining(app: Flask) -> Iterator[Any]:
    event = app.extensions["gateway"].draining
    event.set()
    yield event
    event.clear()


def test_ready(client: FlaskClient) -> None:
    for path in ("/health", "/health/liveliness"):
        assert (client.get(path).status_code, client.get(path).data) == (200, b'{"status":"ok"}')
    for path in ("/readyz", "/health/readiness"):
        assert (client.get(path).status_code, client.get(path).data) == (200, b'{"status":"ready"}')


def test_a_draining_process_is_not_ready(client: FlaskClient, draining: Any) -> None:
    for path in ("/readyz", "/health/readiness"):
        assert (client.get(path).status_code, client.get(path).data) == (503, b'{"status":"draining"}')
    assert client.get("/health").status_code == 200
    assert client.get("/v1/models", headers=AUTH).status_code == 200
    assert client.post("/v1/chat/completions", json=chat("mock"), headers=AUTH).status_code == 200
