"""Tests the command version."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from flask_gateway import __version__
from flask_gateway.cli.command import OK
from flask_gateway.cli.main import main
from flask_gateway.cli.version import DEPENDENCIES

ROOT = Path(__file__).parents[2]
Capture = pytest.CaptureFixture[str]


def test_version_knows_the_dependencies(capsys: Capture) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in project["dependencies"]]
    assert sorted(named) == sorted(DEPENDENCIES)
    assert main(["version"], {}) == OK
    assert capsys.readouterr().out.startswith(f"flask-gateway {__version__}\n")
    assert main(["--version"], {}) == OK
