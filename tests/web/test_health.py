"""``/health`` and ``/readyz``, while the process serves and while it drains."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from kit.calls import AUTH, chat, make_settings

from flask_gateway import create_app
from flask_gateway.config.schema import LedgerSettings
from flask_gateway.guards.openings import CURRENT
from flask_gateway.state.memory import MemoryStore


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


def test_a_process_whose_ledger_is_behind_the_journals_is_not_ready(
    tmp_path: Path, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bookkeeper.lock").mkdir()  # so that no bookkeeper starts
    app = create_app(make_settings(ledger=LedgerSettings(data=str(tmp_path))), store)
    client, accounting = app.test_client(), app.extensions["gateway"].accounting
    for path in ("/readyz", "/health/readiness"):
        assert (client.get(path).status_code, client.get(path).data) == (503, b'{"status":"starting"}')
    assert client.get("/health").status_code == 200
    accounting.accounts.now_current()
    assert client.get("/readyz").status_code == 200
    store.update(CURRENT, lambda old, now: (None, None), 1)
    assert client.get("/readyz").status_code == 503
    monkeypatch.setattr(accounting.books, "began", accounting.books.began - 5)
    assert client.get("/readyz").status_code == 200
