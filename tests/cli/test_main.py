"""Tests the command line: usage, help, and what is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flask_gateway.cli.command import FOUND, OK, USAGE
from flask_gateway.cli.main import COMMANDS, command_of, main, parser_of, usage

ROOT = Path(__file__).parents[2]
Capture = pytest.CaptureFixture[str]

# ---------------------------------------------------------------- wrong usage


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["chek"],
        ["--nonsense"],
        ["keys"],
        ["keys", "new", "a b"],
        ["deploy", "print", "apache"],
        ["completion", "tcsh"],
    ],
)
def test_wrong_usage_exits_with_2_and_says_what_is_right(argv: list[str], capsys: Capture) -> None:
    try:
        status: object = main(argv, {})
    except SystemExit as ended:
        status = ended.code
    out, err = capsys.readouterr()
    assert (status, out) == (USAGE, "")
    assert "flask-gateway" in err


def test_the_nearest_command_is_offered(capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        main(["docter"], {})
    assert "'docter' is not a command; did you mean doctor?" in capsys.readouterr().err


def test_a_python_without_the_packages_is_told_which_one_has_them(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(name: str, package: str) -> None:
        raise ModuleNotFoundError("No module named 'msgspec.json'", name="msgspec.json")

    monkeypatch.setattr("flask_gateway.cli.main.import_module", without)
    assert main(["check"], {}) == FOUND
    said = capsys.readouterr().err
    assert f"the package msgspec is not installed for {sys.executable}" in said
    assert ".venv/bin/python" in said


def test_a_module_of_the_gateway_that_is_missing_is_a_fault_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def without(name: str, package: str) -> None:
        raise ModuleNotFoundError("no", name="flask_gateway.cli.nothing")

    monkeypatch.setattr("flask_gateway.cli.main.import_module", without)
    with pytest.raises(ModuleNotFoundError):
        main(["check"], {})


# ---------------------------------------------------------------- style


def whole_help(name: str) -> str:
    return parser_of(name, command_of(name)).format_help()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_a_screen_and_has_two_examples_and_the_exit_codes(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines, command = whole_help(name).splitlines(), command_of(name)
    assert len(lines) < 40
    assert lines[0].startswith(f"usage: flask-gateway {name}")
    assert len(command.examples) == 2
    assert all(f"flask-gateway {name}" in example for example, _ in command.examples)
    assert OK in command.exits
    for code in (*command.exits, USAGE):
        assert any(line.startswith(f"  {code:<3} ") for line in lines)


def test_the_list_of_commands_fits_a_screen(capsys: Capture) -> None:
    assert main(["--help"], {}) == 0
    assert capsys.readouterr().out == usage() + "\n"
    assert len(usage().splitlines()) < 40
    assert max(map(len, usage().splitlines())) < 100


def test_only_the_called_command_is_imported() -> None:
    code = (
        "import sys; from flask_gateway.cli.main import main; status = main(['version'], {})\n"
        "heavy = {'flask', 'requests', 'gunicorn', 'prometheus_client'} & set(sys.modules); print(heavy)\n"
        "sys.exit(bool(heavy) or status)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("argv", [["--help"], ["completion", "fish"], ["deploy", "print", "grafana"]])
def test_a_reader_that_closes_the_pipe_is_no_error(argv: list[str]) -> None:
    """As ``head`` does. The reader ends before anything is written."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "flask_gateway", *argv]
    try:
        done = subprocess.run(command, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")
