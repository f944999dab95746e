"""Tests ``api_key_command`` and ``api_key_seconds`` of an upstream in the settings file."""

from __future__ import annotations

from pathlib import Path

import pytest

from flask_gateway.config.describe import describe
from flask_gateway.config.errors import ConfigError
from flask_gateway.config.kinds import KeyCommand
from flask_gateway.config.load import Resolved, resolve

SECRET = "PLANTED7secret"


def read(folder: Path, table: str, **environ: str) -> Resolved:
    path = folder / "gateway.toml"
    path.write_text(f'[upstreams.one]\nurl = "https://api.example.org"\n{table}\n')
    return resolve({"GATEWAY_CONFIG": str(path), "GATEWAY_API_KEYS": "0123456789abcdef", **environ})


def test_a_command_and_its_time(tmp_path: Path) -> None:
    (one,) = read(tmp_path, 'api_key_command = ["sh", "-c", "x"]').settings.upstreams
    assert one.key_command == KeyCommand(("sh", "-c", "x"), 300.0)
    found = read(tmp_path, 'api_key_command = ["sh"]\napi_key_seconds = 1800')
    assert found.settings.upstreams[0].key_command == KeyCommand(("sh",), 1800.0)
    assert found.settings.warnings == ()


def test_the_environment_wins(tmp_path: Path) -> None:
    found = read(
        tmp_path, 'api_key_command = ["sh"]', GATEWAY_UPSTREAM_ONE_API_KEY="a-key-of-the-environment"
    )
    (one,) = found.settings.upstreams
    assert one.key_command is None
    assert one.api_key is not None


def test_check_shows_the_program_alone_and_warns_of_one_that_is_missing(tmp_path: Path) -> None:
    found = read(tmp_path, f'api_key_command = ["no-such-program-here", "--password={SECRET}"]')
    shown = "\n".join(describe(found))
    assert "upstreams.one.api_key_command = no-such-program-here …, used for 300 s" in shown
    (warning,) = found.settings.warnings
    assert "'no-such-program-here' is not found" in warning
    assert SECRET not in shown + warning + repr(found.settings.warnings)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (f'api_key_command = "gcloud {SECRET}"', "no shell reads it"),
        ("api_key_command = []", "a list of words"),
        ('api_key_command = [""]', "the first word is the program"),
        (f'api_key_command = ["a", {{ x = "{SECRET}" }}]', "a list of words"),
        ("api_key_command = [1]", "a list of words"),
        ('api_key_command = ["a"]\napi_key_seconds = 1', "at least 10"),
        ("api_key_seconds = 60", "api_key_command with it"),
        ('api_key_command = ["a"]\napi_key_env = "K"', "only one of"),
        ('api_key_command = ["a"]\napi_key_file = "k"', "only one of"),
        (f'api_key = "{SECRET}"', "api_key_command"),
    ],
)
def test_mistakes(tmp_path: Path, table: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, table, K="a-key")
    assert words in str(caught.value)
    assert SECRET not in str(caught.value)
