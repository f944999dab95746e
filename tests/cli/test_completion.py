"""Tests the completions of shells."""

from __future__ import annotations

import re
import subprocess

import pytest

from flask_gateway.cli.command import OK
from flask_gateway.cli.main import COMMANDS, main

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions_know_every_command_and_option(shell: str, capsys: Capture) -> None:
    assert main(["completion", shell], {}) == OK
    script = capsys.readouterr().out
    for name in COMMANDS:
        assert re.search(rf"\b{name}\b", script)
    for word in ("quiet", "only", "nginx-site", "zsh"):
        assert word in script


def test_bash_completes(capsys: Capture) -> None:
    main(["completion", "bash"], {})
    script = capsys.readouterr().out
    for line, expected in (("flask-gateway ch", "check"), ("flask-gateway check --qu", "--quiet")):
        words = line.split()
        run = f"COMP_WORDS=({line}) COMP_CWORD={len(words) - 1}; _flask_gateway; echo ${{COMPREPLY[*]}}"
        done = subprocess.run(["bash", "-c", f"{script}\n{run}"], capture_output=True, text=True, check=True)
        assert done.stdout.split() == [expected]
