"""The help of each action of a command fits a screen, and has the exit codes."""

from __future__ import annotations

import argparse

import pytest

from flask_gateway.cli.command import USAGE
from flask_gateway.cli.main import COMMANDS, command_of, parser_of


def actions() -> list[tuple[str, str]]:
    return [
        (name, action)
        for name in COMMANDS
        for group in parser_of(name, command_of(name))._actions
        if isinstance(group, argparse._SubParsersAction)
        for action in group.choices
    ]


@pytest.mark.parametrize(("name", "action"), actions())
def test_help_of_an_action(
    name: str, action: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        parser_of(name, command_of(name)).parse_args([action, "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 40
    assert lines[0].startswith(f"usage: flask-gateway {name} {action}")
    assert any(line.endswith(".") and line[0].isupper() for line in lines[1:10] if line)
    for code in (*command_of(name).exits, USAGE):
        assert any(line.startswith(f"  {code:<3} ") for line in lines)
    prints_a_file = (name, action) == ("deploy", "print")
    assert any("--json" in line for line in lines) is not prints_a_file
