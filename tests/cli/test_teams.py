"""Tests the command ``teams``: what it sends, and what it prints of the answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flask_gateway.cli.command import FOUND, OK, USAGE
from flask_gateway.cli.main import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    file = tmp_path / "gateway.toml"
    file.write_text('[ledger]\ndata = "data"\n')
    return {"GATEWAY_CONFIG": str(file), "GATEWAY_ADMIN_KEY": "an-admins-key-of-a-test-1"}


def test_limits_that_are_no_json_are_wrong_usage(environ: dict[str, str], capsys: Capture) -> None:
    assert main(["teams", "put", "search", "--limits", "{"], environ) == USAGE
    assert "--limits: expected a JSON object" in capsys.readouterr().err


def test_a_team_that_is_missing_is_refused_with_the_reason(environ: dict[str, str], capsys: Capture) -> None:
    assert main(["teams", "delete", "nobody"], environ) == FOUND
    assert capsys.readouterr().err.startswith("flask-gateway: ")


def test_a_team_lives(environ: dict[str, str], capsys: Capture) -> None:
    assert main(["teams", "list"], environ) == OK
    assert "no teams but those of the settings file" in capsys.readouterr().out
    assert main(["teams", "put", "search", "--limits", '{"tokens": 7}', "--note", "a note"], environ) == OK
    assert capsys.readouterr().out == 'search  {"tokens": 7}\n'
    assert main(["teams", "list"], environ) == OK
    assert capsys.readouterr().out == 'search  {"tokens": 7}  a note\n'
    assert main(["teams", "list", "--json"], environ) == OK
    assert [team["name"] for team in json.loads(capsys.readouterr().out)["teams"]] == ["search"]
    assert main(["teams", "delete", "search"], environ) == OK
    assert capsys.readouterr().out == "search is deleted.\n"
