"""Tests the connection of commands to a gateway or to its files."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from flask_gateway.cli.main import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    file = tmp_path / "gateway.toml"
    file.write_text(f'[ledger]\ndata = "{tmp_path}/data"\n[upstreams.mock]\nurl = "mock://local"\n')
    return {"GATEWAY_CONFIG": str(file), "GATEWAY_API_KEYS": "planted-file-key-of-a-caller"}


def test_without_a_directory_the_setting_is_named(capsys: Capture) -> None:
    assert main(["keys", "list", "--config="], {}) == 78
    assert "ledger.data" in capsys.readouterr().err


def test_a_gateway_that_does_not_answer_is_named(environ: dict[str, str], capsys: Capture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    assert main(["keys", "list", "--url", url], {**environ, "GATEWAY_ADMIN_KEY": "x" * 30}) == 1
    assert url in capsys.readouterr().err
