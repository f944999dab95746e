"""Tests ``init``: what it finds, what it writes, and that it overwrites nothing."""

from __future__ import annotations

import json
import os
import re
import stat
import tomllib
from pathlib import Path

import pytest

from flask_gateway.cli.main import main
from flask_gateway.config.load import load

Capture = pytest.CaptureFixture[str]
PLANTED = "sk-planted-secret-of-a-provider"


# ---------------------------------------------------------------- nothing is overwritten


def test_an_existing_file_is_left_as_it_is(capsys: Capture) -> None:
    Path("gateway.toml").write_text("mine")
    assert main(["init", "--yes"], {"OPENAI_API_KEY": PLANTED}) == 1
    assert Path("gateway.toml").read_text() == "mine"
    assert os.listdir() == ["gateway.toml"]
    assert "gateway.toml exists and is left as it is; --output names another file" in capsys.readouterr().err


def test_a_dangling_link_is_an_existing_file() -> None:
    Path("gateway.toml").symlink_to("elsewhere")
    assert main(["init", "--yes"], {}) == 1
    assert not Path("elsewhere").exists()


def test_an_existing_secret_is_left_as_it_is_and_nothing_is_written(capsys: Capture) -> None:
    Path("secrets").mkdir()
    Path("secrets/openai.key").write_text("mine")
    assert main(["init", "--yes"], {"OPENAI_API_KEY": PLANTED, "GROQ_API_KEY": PLANTED}) == 1
    assert Path("secrets/openai.key").read_text() == "mine"
    assert sorted(str(path) for path in Path().rglob("*")) == ["secrets", "secrets/openai.key"]
    assert "secrets/openai.key: File exists; nothing was written" in capsys.readouterr().err


def test_a_folder_that_does_not_exist(capsys: Capture) -> None:
    assert main(["init", "--yes", "--output", "no/gateway.toml"], {}) == 1
    assert "nothing was written" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv",
    [["--upstream", "llama"], ["--upstream", "a=ftp://x"], ["--upstream", "a b=http://x"], ["--key", "a b"]],
)
def test_wrong_options_exit_with_2(argv: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["init", *argv], {})
    assert ended.value.code == 2
    assert "expected" in capsys.readouterr().err
    assert os.listdir() == []


def test_no_at_the_terminal_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda prompt: "n")
    assert main(["init"], {}) == 1
    assert os.listdir() == []
    monkeypatch.setattr("builtins.input", lambda prompt: "")
    assert main(["init"], {}) == 0


# ---------------------------------------------------------------- the file


def test_a_file_by_what_is_found(ollama: int, capsys: Capture) -> None:
    environ = {"OPENAI_API_KEY": PLANTED, "ANTHROPIC_API_KEY": f"{PLANTED}-2", "GATEWAY_API_KEYS": "ignored"}
    assert main(["init", "--key", "web", "--key", "batch"], environ) == 0
    out = capsys.readouterr().out
    written = Path("gateway.toml").read_text()
    keys = re.findall(r"The key of \w+, shown only now: (sk-\w+)", out)
    assert len(set(keys)) == 2
    assert not [secret for secret in (PLANTED, *keys) if secret in written]
    assert PLANTED not in out
    for name, content in (("openai", PLANTED), ("anthropic", f"{PLANTED}-2")):
        place = Path("secrets") / f"{name}.key"
        assert place.read_text() == f"{content}\n"
        assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert stat.S_IMODE(Path("secrets").stat().st_mode) == 0o700
    settings = load({"GATEWAY_CONFIG": "gateway.toml"})
    assert settings.warnings == ()
    assert [upstream.name for upstream in settings.upstreams] == ["ollama", "openai", "anthropic"]
    assert [model.name for model in settings.models] == ["llama3.2:3b", 'odd"name']
    assert settings.default_upstream == "ollama"
    assert settings.answer_timeout_seconds >= 120
    assert [key.id for key in settings.keys] == ["web", "batch"]
    assert [
        main([command, *more], {}) for command, more in (("check", []), ("explain", ["llama3.2:3b"]))
    ] == [0, 0]


def test_a_file_by_options_alone(ollama: int, capsys: Capture) -> None:
    argv = [
        "--no-scan",
        "--no-env",
        "--upstream",
        "llama=http://10.0.0.5:8001",
        "--output",
        "mine.toml",
        "--json",
    ]
    assert main(["init", *argv], {"OPENAI_API_KEY": PLANTED}) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["files"], document["upstreams"]) == (["mine.toml"], ["llama"])
    assert document["keys"]["first"].startswith("sk-")
    assert tomllib.loads(Path("mine.toml").read_text())["upstreams"] == {
        "llama": {"url": "http://10.0.0.5:8001"}
    }
    assert os.listdir() == ["mine.toml"]


def test_variables_that_win_over_the_file_are_named(capsys: Capture) -> None:
    """The file is checked without them: it is to be valid by itself."""
    environ = {
        "GATEWAY_API_KEYS": "planted-key-of-this-shell",
        "GATEWAY_NONSENSE": "1",
        "GATEWAY_THREADS": "8",
    }
    assert main(["init", "--yes", "--output", "a file.toml"], environ) == 0
    out, err = capsys.readouterr()
    assert [line.split()[2] for line in err.splitlines()] == ["GATEWAY_API_KEYS", "GATEWAY_NONSENSE"]
    assert "planted" not in out + err
    assert "serve --config 'a file.toml'" in out


def test_a_given_upstream_replaces_one_that_is_found(ollama: int) -> None:
    assert main(["init", "--yes", "--upstream", "ollama=http://10.0.0.5:11434"], {}) == 0
    settings = load({"GATEWAY_CONFIG": "gateway.toml"})
    assert [upstream.url for upstream in settings.upstreams] == ["http://10.0.0.5:11434/v1"]


def test_the_mock_answers_when_nothing_is_found(capsys: Capture) -> None:
    assert main(["init", "--yes"], {}) == 0
    assert "Found no model server and no provider's key: a mock will answer" in capsys.readouterr().out
    assert [upstream.name for upstream in load({"GATEWAY_CONFIG": "gateway.toml"}).upstreams] == ["mock"]


def test_another_address_is_offered_where_the_usual_one_is_taken(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr("flask_gateway.cli.init.command.in_use", lambda binds: binds[0])
    assert main(["init", "--yes"], {}) == 0
    out = capsys.readouterr().out
    assert "flask-gateway serve --bind 127.0.0.1:8100" in out
    assert "curl http://127.0.0.1:8100/v1/chat/completions" in out
