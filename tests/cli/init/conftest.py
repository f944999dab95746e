"""Provides an empty folder for each test of ``init``, and a server of models on request."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit.ollama import ollama_server

from flask_gateway.cli.init import model_servers


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, and no model server of this machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(model_servers.find, "__defaults__", (((9, "ollama"),),))


@pytest.fixture
def ollama(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a server of models."""
    server = ollama_server(0)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setattr(model_servers.find, "__defaults__", (((server.server_port, "vllm"),),))
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()
