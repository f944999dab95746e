"""Checks that all commands have one style: help, examples, exit codes, JSON, and imports on demand."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import pytest

from flask_gateway.cli.command import EX_CONFIG, OK, USAGE
from flask_gateway.cli.main import COMMANDS, command_of, main

ROOT = Path(__file__).parents[2]
Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("key", ["", "has a blank", "ümlaut"])
def test_a_key_that_cannot_be_used_has_no_digest(
    key: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{key}\n"))
    assert main(["keys", "hash"], {}) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "expected a key of visible ASCII characters" in err
    assert not key or key not in err


def test_an_invalid_setting_is_json_with_json(capsys: Capture) -> None:
    assert main(["check", "--json"], {"GATEWAY_THREADS": "many"}) == EX_CONFIG
    (error,) = json.loads(capsys.readouterr().out)["errors"]
    assert error.startswith("GATEWAY_THREADS='many': expected")


def test_commands_and_exit_codes_are_documented() -> None:
    document = (ROOT / "docs" / "commands.md").read_text()
    assert not [name for name in COMMANDS if not re.search(rf"^\| `{name}\b", document, re.MULTILINE)]
    codes = {code for name in COMMANDS for code in command_of(name).exits} | {USAGE}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", document, re.MULTILINE)} == codes


# ---------------------------------------------------------------- JSON


@pytest.mark.parametrize(
    ("argv", "field"),
    [
        (["check"], "settings"),
        (["explain", "mock"], "candidates"),
        (["keys", "new", "alice"], "key"),
        (["keys", "hash"], "sha256"),
        (["deploy", "list"], "files"),
        (["version"], "packages"),
        (["selftest", "--fast", "--only", "S01"], "scenarios"),
    ],
)
def test_json(argv: list[str], field: str, capsys: Capture) -> None:
    assert main([*argv, "--json"], {"FLASK_GATEWAY_KEY": "a-key-of-my-own"}) == OK
    assert json.loads(capsys.readouterr().out)[field]


def test_json_of_doctor_has_the_failed_check(capsys: Capture) -> None:
    assert main(["doctor", "http://127.0.0.1:9", "--json"], {"GATEWAY_BIND": "127.0.0.1:9"}) == 1
    checks = json.loads(capsys.readouterr().out)["checks"]
    assert "fail" in {one["level"] for one in checks}
    assert all(one["remedy"] for one in checks if one["level"] != "ok")


# ---------------------------------------------------------------- settings


def test_the_settings_file_of_this_directory_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    (tmp_path / "gateway.toml").write_text("rate_limit_per_minute = 7\n")
    (tmp_path / "other.toml").write_text("rate_limit_per_minute = 8\n")
    monkeypatch.chdir(tmp_path)
    for argv, environ, limit in (
        ([], {}, "7"),
        (["--config", "other.toml"], {}, "8"),
        ([], {"GATEWAY_CONFIG": "other.toml"}, "8"),
        (["--config", "gateway.toml"], {"GATEWAY_CONFIG": "other.toml"}, "7"),
        (["--config="], {}, "60"),
    ):
        assert main(["check", *argv], environ) == OK
        assert f"rate_limit_per_minute = {limit} " in capsys.readouterr().out
