"""The command that starts the sidecar: what it needs, and the server that it becomes."""

from __future__ import annotations

import pytest

from flask_gateway.cli.command import EX_CONFIG
from flask_gateway.cli.litellm_sidecar import command_of
from flask_gateway.cli.main import main

SECRET = {"LITELLM_SIDECAR_KEY": "sidecar-secret-0123456789"}


@pytest.mark.parametrize(
    ("arguments", "environ", "says"),
    [
        ([], {}, "LITELLM_SIDECAR_KEY"),
        ([], {"LITELLM_SIDECAR_KEY": "short"}, "at least 16"),
        (["--bind", "0.0.0.0:4001"], SECRET, "loopback"),
    ],
)
def test_it_says_what_is_missing(
    arguments: list[str], environ: dict[str, str], says: str, capsys: pytest.CaptureFixture[str]
):
    assert main(["litellm-sidecar", *arguments], environ) == EX_CONFIG
    assert says in capsys.readouterr().err


def test_without_litellm_it_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("flask_gateway.cli.litellm_sidecar.find_spec", lambda name: None)
    assert main(["litellm-sidecar"], SECRET) == EX_CONFIG
    assert "flask-llm-gateway[litellm]" in capsys.readouterr().err


def test_it_becomes_a_server_with_one_worker():
    command = command_of("127.0.0.1:4001", 8)
    assert command[command.index("--workers") + 1] == "1"
    assert command[command.index("--bind") + 1] == "127.0.0.1:4001"
