"""Tests ``init``: what it finds, what it writes, and that it overwrites nothing."""

from __future__ import annotations

import json
import os
import re
import stat
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kit.ollama import ollama_server

from flask_gateway.cli.init import model_servers
from flask_gateway.cli.init.model_servers import ModelServer, find, read, unique
from flask_gateway.cli.init.providers import PROVIDERS, keys_in
from flask_gateway.cli.main import main
from flask_gateway.config.load import load
from flask_gateway.config.upstream_url import base_url

Capture = pytest.CaptureFixture[str]
PLANTED = "sk-planted-secret-of-a-provider"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, and no model server of this machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(model_servers.find, "__defaults__", (((9, "ollama"),),))


@pytest.fixture
def ollama(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a server of models."""
    server = ollama_server(0)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setattr(model_servers.find, "__defaults__", (((server.server_port, "vllm"),),))
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


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


# ---------------------------------------------------------------- answers that are none


@pytest.mark.parametrize(
    ("status", "headers", "body", "note"),
    [
        (200, {"X-Gateway-Upstream": "a"}, b'{"data":[]}', "it is a Flask Gateway"),
        (401, {"x-gateway-error-origin": "gateway"}, b"{}", "it is a Flask Gateway"),
        (401, {}, b"{}", "it wants a key"),
        (403, {}, b"no", "it wants a key"),
    ],
)
def test_a_server_that_cannot_be_used_is_noted(
    status: int, headers: dict[str, str], body: bytes, note: str
) -> None:
    server = read(8000, "vllm", status, headers, body)
    assert server is not None
    assert server.note.startswith(note)


@pytest.mark.parametrize(
    ("status", "body"),
    [(404, b"{}"), (200, b"<html>"), (200, b"[]"), (200, b'{"data":1}'), (200, b""), (500, b'{"data":[]}')],
)
def test_anything_else_is_no_model_server(status: int, body: bytes) -> None:
    assert read(8080, "llamacpp", status, {}, body) is None


def test_odd_names_of_models_are_left_out() -> None:
    rows = [{"id": name} for name in ("good", "", 7, None, "x\ny", "l" * 121)]
    server = read(8000, "vllm", 200, {}, json.dumps({"data": [*rows, "row"]}).encode())
    assert server == ModelServer("vllm", 8000, ("good",))


def test_a_port_without_a_server() -> None:
    assert find(((9, "ollama"),)) == []


@pytest.mark.parametrize(
    ("owner", "name"),
    [("library", "ollama"), ("vllm", "vllm"), ("organization_owner", "lmstudio"), ("else", "usual")],
)
def test_the_owner_of_the_models_names_the_server(owner: str, name: str) -> None:
    body = json.dumps({"data": [{"id": "m", "owned_by": owner}]}).encode()
    server = read(1, "usual", 200, {}, body)
    assert server
    assert server.name == name


def test_two_servers_of_a_kind_have_two_names() -> None:
    servers = [ModelServer("vllm", 8000), ModelServer("vllm", 8001), ModelServer("ollama", 1)]
    assert [server.name for server in unique(servers)] == ["vllm", "vllm-2", "ollama"]


@pytest.mark.parametrize(
    "environ",
    [
        {"OPENAI_API_KEY": ""},
        {"OPENAI_API_KEY": "two words"},
        {"OPENAI_API_KEY": PLANTED, "OPENAI_BASE_URL": "http://127.0.0.1:8000/v1"},  # this may be the gateway
        {"OPENAI_API_KEY": PLANTED, "OPENAI_BASE_URL": "http://localhost:1"},
        {"OPENAI_API_KEY": PLANTED, "OPENAI_BASE_URL": "nonsense"},
    ],
)
def test_keys_that_are_not_for_a_provider(environ: dict[str, str]) -> None:
    assert list(keys_in(environ)) == []


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


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)
def test_each_provider_gives_valid_settings(provider: Any) -> None:
    assert main(["init", "--yes"], {provider.variables[-1]: PLANTED}) == 0
    (upstream,) = load({"GATEWAY_CONFIG": "gateway.toml"}).upstreams
    assert (upstream.name, upstream.url) == (provider.name, base_url(provider.url))
    assert upstream.api_key is not None
    assert upstream.api_key.reveal() == PLANTED
    assert PLANTED not in repr(list(keys_in({provider.variables[0]: PLANTED})))


def test_another_address_is_offered_where_the_usual_one_is_taken(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr("flask_gateway.cli.init.command.in_use", lambda binds: binds[0])
    assert main(["init", "--yes"], {}) == 0
    out = capsys.readouterr().out
    assert "flask-gateway serve --bind 127.0.0.1:8100" in out
    assert "curl http://127.0.0.1:8100/v1/chat/completions" in out
