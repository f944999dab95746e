"""The completions of zsh and fish, in those shells."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from kit.needs import need
from kit.zsh import completed

from flask_gateway.cli.main import main

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("flask-gateway chec", "check"),
        ("flask-gateway check --qu", "--quiet"),
        ("flask-gateway keys cr", "create"),
        ("flask-gateway import litellm --bu", "--budgets"),
    ],
)
def test_fish_completes(line: str, expected: str, tmp_path: Path, capsys: Capture) -> None:
    need("fish")
    main(["completion", "fish"], {})
    (tmp_path / "completions.fish").write_text(capsys.readouterr().out)
    asked = f"source {tmp_path}/completions.fish; complete -C {shlex.quote(line)}"
    environ = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "TERM": "dumb"}
    done = subprocess.run(["fish", "--no-config", "-c", asked], env=environ, capture_output=True, text=True)
    assert [found.split("\t")[0] for found in done.stdout.splitlines()] == [expected], done.stderr


def test_zsh_completes(tmp_path: Path, capsys: Capture) -> None:
    need("zsh")
    main(["completion", "zsh"], {})
    (tmp_path / "_flask-gateway").write_text(capsys.readouterr().out)
    lines = {
        "flask-gateway chec": "flask-gateway check",
        "flask-gateway check --qu": "flask-gateway check --quiet",
        "flask-gateway completion zs": "flask-gateway completion zsh",
    }
    assert completed(tmp_path, list(lines)) == list(lines.values())
