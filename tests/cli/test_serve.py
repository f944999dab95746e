"""Tests what ``serve`` says and starts. ``scenarios/test_wheel.py`` runs it."""

from __future__ import annotations

import hashlib
import json
import shlex
import socket
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from flask_gateway.app.preflight import load_checked
from flask_gateway.cli import serve
from flask_gateway.cli.main import main
from flask_gateway.config.errors import ConfigError

Capture = pytest.CaptureFixture[str]

# ---------------------------------------------------------------- refused


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that ``serve`` would have become."""
    commands: list[list[str]] = []
    monkeypatch.setattr(serve, "_become", lambda command, environ: commands.append([*command]) or 0)
    return commands


def test_an_address_in_use_exits_with_1_and_says_what_to_do(
    started: list[list[str]], capsys: Capture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        assert main(["serve", "--bind", address], {}) == 1
    out, err = capsys.readouterr()
    assert (out, started) == ("", [])
    assert err.startswith(f"flask-gateway: {address} is in use by another process; ")
    assert "serve --bind" in err


@pytest.mark.parametrize(
    ("argv", "setting"),
    [
        (["--bind", "0.0.0.0:0"], "GATEWAY_BIND"),
        (["--workers", "none"], "GATEWAY_WORKERS"),
        (["--config", "/nowhere.toml"], "GATEWAY_CONFIG"),
    ],
)
def test_an_invalid_setting_exits_with_78_before_anything_starts(
    argv: list[str], setting: str, started: list[list[str]], capsys: Capture
) -> None:
    assert main(["serve", *argv], {}) == 78
    out, err = capsys.readouterr()
    assert (out, started) == ("", [])
    assert err.startswith(f"flask-gateway: {setting}=")


# ---------------------------------------------------------------- started


def test_it_becomes_gunicorn_with_a_path_that_a_reload_reads_again(
    started: list[list[str]], capsys: Capture
) -> None:
    assert main(["serve", "--bind", "127.0.0.1:0", "--quiet"], {}) == 0
    (command,) = started
    assert command[:4] == [sys.executable, "-m", "gunicorn", "-c"]  # the package is in this directory
    assert Path(command[4]).name == "gunicorn.conf.py"
    assert Path(command[4]).is_file()
    assert command[5:] == [serve.APPLICATION]
    assert capsys.readouterr().out == ""


def test_options_win_over_the_environment() -> None:
    options = Namespace(bind="127.0.0.1:1", workers=None)
    environ = serve.with_options(
        options, {"GATEWAY_BIND": "127.0.0.1:2", "GATEWAY_WORKERS": "3", "HOME": "/"}
    )
    assert environ == {"GATEWAY_BIND": "127.0.0.1:1", "GATEWAY_WORKERS": "3", "HOME": "/"}


def test_sockets_of_systemd_are_not_taken_for_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        environ = {"GATEWAY_BIND": f"127.0.0.1:{listener.getsockname()[1]}"}
        resolved = load_checked(environ, [], None)
        assert serve._taken(resolved, environ) == environ["GATEWAY_BIND"]
        monkeypatch.setattr("os.getpid", lambda: 42)
        assert serve._taken(resolved, {**environ, "LISTEN_PID": "42", "LISTEN_FDS": "1"}) is None


# ---------------------------------------------------------------- said


def said(environ: dict[str, str], colours: bool = False) -> list[str]:
    return list(serve.banner(load_checked(environ, [], None), environ, colours))


def test_without_settings_it_says_where_with_which_key_and_what_next() -> None:
    text = "\n".join(said({}))
    assert "no settings file: the built-in mock answers" in text
    assert "http://127.0.0.1:8000/v1 " in text
    assert "key: dev-key, for this machine only" in text
    assert "flask-gateway init" in text
    assert "\x1b" not in text
    assert "\x1b" in said({}, colours=True)[0]


def test_the_curl_is_a_valid_command_line() -> None:
    (line,) = [line for line in said({}) if " curl " in line]
    words = shlex.split(line)[1:]
    assert words[:2] == ["curl", "http://127.0.0.1:8000/v1/chat/completions"]
    assert "Authorization: Bearer dev-key" in words
    assert json.loads(words[-1])["model"] == "mock"
    odd = shlex.split(serve.curl("http://h", "k", "it's"))
    assert json.loads(odd[-1])["model"] == "it's"


def test_keys_are_never_said(tmp_path: Path) -> None:
    text = "\n".join(said({"GATEWAY_API_KEYS": "a-long-key-of-my-own,another-long-key"}))
    assert "a-long-key" not in text
    assert "${GATEWAY_API_KEYS%%,*}" in text
    file = tmp_path / "gateway.toml"
    file.write_text(
        f'[keys.alice]\nsha256 = "{hashlib.sha256(b"x" * 32).hexdigest()}"\n[upstreams.a]\nurl = "http://h"\n'
    )
    text = "\n".join(said({"GATEWAY_CONFIG": str(file)}))
    assert f"{file}: a" in text
    assert "key: of alice; put it into $FLASK_GATEWAY_KEY" in text
    assert "a/MODEL" in text
    assert "flask-gateway init" not in text


def test_json_says_the_same(started: list[list[str]], capsys: Capture) -> None:
    assert main(["serve", "--bind", "127.0.0.1:0", "--json"], {}) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["url"] == "http://127.0.0.1:0/v1"
    assert (document["upstreams"], document["model"], document["settings"]) == (["mock"], "mock", None)


def test_variables_of_others_are_noted_without_their_values(
    started: list[list[str]], capsys: Capture
) -> None:
    environ = {"LITELLM_MASTER_KEY": "sk-planted", "PORT": "4000", "CONFIG_FILE_PATH": ""}
    assert main(["serve", "--bind", "127.0.0.1:0"], environ) == 0
    out, err = capsys.readouterr()
    assert [line.split()[2] for line in err.splitlines()] == ["LITELLM_MASTER_KEY", "PORT"]
    assert "sk-planted" not in out + err


def test_a_variable_that_the_file_names_is_not_noted(
    started: list[list[str]], capsys: Capture, tmp_path: Path
) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('[keys.master]\nkey_env = "LITELLM_MASTER_KEY"\n[upstreams.m]\nurl = "mock://m"\n')
    environ = {"LITELLM_MASTER_KEY": "sk-planted-master-key-1"}
    assert main(["serve", "--bind", "127.0.0.1:0", "--config", str(file)], environ) == 0
    assert "LITELLM_MASTER_KEY is not read" not in capsys.readouterr().err


def test_a_settings_file_with_a_mistake_is_not_half_read(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text("rate_limit = 1\n")
    with pytest.raises(ConfigError):
        said({"GATEWAY_CONFIG": str(tmp_path / "gateway.toml")})
