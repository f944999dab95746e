"""Tests the settings file: which files are refused with which words, and what a file can set."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from kit.configuration import SECRET, refusal

from flask_gateway.config.errors import ConfigError
from flask_gateway.config.load import load, resolve
from flask_gateway.config.warnings import Origin

COUNT = "expected a whole number of requests per minute, 0 for unlimited"
SECONDS = "expected a number of seconds above 0"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("rate_limit_per_minute = 'sixty'", f"rate_limit_per_minute='sixty': {COUNT}"),
        ("rate_limit_per_minute = true", f"rate_limit_per_minute=True: {COUNT}"),
        ("rate_limit_per_minute = 1.0", f"rate_limit_per_minute=1.0: {COUNT}"),
        ("circuit_breaker_reset_seconds = false", f"circuit_breaker_reset_seconds=False: {SECONDS}"),
        ("request_timeout_seconds = nan", f"request_timeout_seconds=nan: {SECONDS}, from 0.001 to 10000000"),
        (
            "rate_limt_per_minute = 1",
            "rate_limt_per_minute=1: expected a known setting; did you mean rate_limit_per_minute?",
        ),
        ("[upstream.a]", "upstream='****': expected a known setting; did you mean upstreams?"),
        ("log = ['json']", "log='a list': expected json or text"),
        ("bind = ':80'", "bind='****': expected this in the environment only; set GATEWAY_BIND"),
        (
            f"api_keys = ['{SECRET}']",
            "api_keys='****': expected callers' keys as tables; "
            "write [keys.NAME] with key_env, key_file or sha256",
        ),
        ("upstreams = 3", "upstreams='****': expected tables, each written [upstreams.NAME]"),
        (
            "[upstreams]\nllama = 'http://h'",
            "upstreams.llama='****': expected a table, written [upstreams.llama]",
        ),
        (
            "[upstreams.llama]",
            "upstreams.llama.url: expected a URL such as http://localhost:8001; it is missing",
        ),
        (
            "[upstreams.llama]\nur1 = 'http://h'",
            "upstreams.llama.ur1='****': expected a known setting; did you mean url?",
        ),
        (
            "[upstreams.a.b]\nurl = 'http://h'",
            "upstreams.a.b='****': expected a known setting; put a name that has a dot in quotes",
        ),
        ("[upstreams.llama]\nurl = 5", "upstreams.llama.url=5: expected a URL such as http://localhost:8001"),
        (
            f"[upstreams.llama]\nurl = 'http://h'\napi_key = '{SECRET}'",
            "upstreams.llama.api_key='****': expected no secret in the file; "
            "name its place with api_key_env, api_key_file or api_key_command",
        ),
        (
            "[upstreams.llama]\nurl = 'http://h'\napi_key_env = 'A'\napi_key_file = 'a'",
            "upstreams.llama.api_key_file: expected only one of api_key_env and api_key_file",
        ),
        (
            "[upstreams.llama]\nurl = 'http://h'\nmax_in_flight = '4'",
            "upstreams.llama.max_in_flight='4': expected a whole number of calls at once, 0 for unlimited",
        ),
        ("[models.m]\nmodel = 'x'", "models.m.upstream: expected the name of an upstream; it is missing"),
        (
            "[models.'g 4']\nupstream = 'mok'",
            "models.\"g 4\".upstream='mok': expected the name of an upstream that is set; did you mean mock?",
        ),
        ("[models.'']\nupstream = 'mock'", 'models."": expected the name of a model; as the last part'),
        (
            "[models.\"a\\nb\"]\nupstream = 'mock'",
            'models."a\\nb": expected the name of a model; as the last part',
        ),
        ("[models.m]\nupstream = 'mock'\nmodel = ''", "models.m.model='': expected the name of a model"),
        (
            "default_upstream = 'x'",
            "default_upstream='x': expected the name of an upstream that is set; there are mock",
        ),
        (
            "[keys.ci]",
            "keys.ci: expected key_env, key_file or sha256, "
            "for a key of visible ASCII characters, without spaces",
        ),
        (
            f"[keys.ci]\nkey = '{SECRET}'",
            "keys.ci.key='****': expected no secret in the file; "
            "name its place with key_env or key_file, or give its sha256",
        ),
        (
            f"[keys.ci]\nsha256 = '{SECRET}'",
            "keys.ci.sha256='****': expected the SHA-256 digest of a key, as 64 hex digits",
        ),
        (
            f"[keys.ci]\nsha256 = '{hashlib.sha256().hexdigest()}'",
            "keys.ci.sha256='****': expected the SHA-256 digest of a key, as 64 hex digits; "
            "this is the digest of an empty text",
        ),
        (
            f"[keys.ci]\nkey_env = 'sk-{SECRET}'",
            "keys.ci.key_env='****': expected the name of an environment variable; not the secret itself",
        ),
        (
            f"[keys.ci]\nkey_env = '{SECRET}'",
            "keys.ci.key_env='****': expected the name of an environment variable that is set",
        ),
        ("[keys.ci]\nkey_env = 7", "keys.ci.key_env='****': expected the name of an environment variable"),
        (
            "[keys.ci]\nkey_env = 'NOT_SET'",
            "keys.ci.key_env='NOT_SET': expected the name of an environment variable that is set",
        ),
        (
            "[keys.ci]\nkey_env = 'EMPTY'",
            "keys.ci.key_env='EMPTY': expected a place that holds a secret; it is empty",
        ),
        (
            "[keys.ci]\nkey_env = 'SPACED'",
            "keys.ci.key_env='SPACED': expected a key of visible ASCII characters, without spaces there",
        ),
        (f"[keys.ci]\nkey_file = 'sk-{SECRET}'", None),
        (
            "[keys.ci]\nkey_env = 'GOOD'\nmodels = []",
            "keys.ci.models='a list': expected a list of one or more names of models, "
            "in which * stands for any text and ? for one character",
        ),
        (
            "[keys.ci]\nkey_env = 'GOOD'\nmodels = [1]",
            "keys.ci.models='a list': expected a list of one or more names of models, "
            "in which * stands for any text and ? for one character",
        ),
        (
            "[keys.ci]\nkey_env = 'GOOD'\n[keys.cd]\nkey_env = 'GOOD'",
            "keys.cd: expected a key of its own; it is the key of ci",
        ),
        ("[keys.'a b']\nkey_env = 'GOOD'", None),
        (
            f"state = 'redis://:{SECRET}@h'",
            "state='****': expected no secret in the file; name a variable that holds the URL in state_env",
        ),
        ("state = 'shared://'\nstate_env = 'GOOD'", "state_env: expected only one of state and state_env"),
        (
            "state_env = 'GOOD'",
            "state_env='GOOD': expected memory://, shared://, "
            "redis://host:port/0 or rediss://host:port/0 there",
        ),
    ],
)
def test_an_invalid_file_is_refused_with_the_dotted_path(text: str, line: str | None, toml: Any) -> None:
    places = {"EMPTY": "", "SPACED": f"{SECRET} x", "GOOD": SECRET}
    error = refusal(GATEWAY_CONFIG=toml(text), **places)
    assert line is None or str(error) == line


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a = \n", "expected a TOML file; Invalid value (at line 1, column 5)"),
        (f"ok = 1\nkey = {SECRET}\n".encode(), "expected a TOML file; Invalid value (at line 2, column 7)"),
        (b"a = '\xff'", "expected a file in UTF-8; see byte 5"),
        (b"a = " + b"[" * 20_000, "expected a TOML file with shorter values"),
        (b"a = " + b"9" * 5_000, "expected a TOML file with shorter values"),
    ],
)
def test_invalid_toml_is_refused_with_path_and_position(
    content: bytes, expected: str, tmp_path: Path
) -> None:
    path = tmp_path / "g"
    path.write_bytes(content)
    error = refusal(GATEWAY_CONFIG=str(path))
    assert str(error) == str(ConfigError("GATEWAY_CONFIG", str(path), expected.removeprefix("expected ")))


@pytest.mark.parametrize("kind", ["fifo", "/dev/zero", "socket", "long"])
@pytest.mark.parametrize("of", ["settings", "secret"])
def test_only_regular_files_of_a_bounded_size_are_read(kind: str, of: str, toml: Any, tmp_path: Path) -> None:
    path = Path(kind) if kind.startswith("/") else tmp_path / "it"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    elif kind == "long":
        with path.open("wb") as file:
            file.truncate(8 << 20)
    if of == "settings":
        error = refusal(GATEWAY_CONFIG=str(path))
        assert "the path of a TOML file that can be read" in str(error)
    else:
        error = refusal(GATEWAY_CONFIG=toml(f'[keys.one]\nkey_file = "{path}"\n'))
        assert "a file that can be read" in str(error)
    assert "more than" in str(error) if kind == "long" else "no regular file" in str(error)


@pytest.mark.parametrize("path", ["", "/nowhere/gateway.toml", "/", "a\x00b", "\ud800"])
def test_a_file_that_cannot_be_read_is_refused(path: str) -> None:
    assert refusal(GATEWAY_CONFIG=path).setting == "GATEWAY_CONFIG"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "a file that can be read"),
        (b"", "a place that holds a secret"),
        (b"\n", "a place that holds a secret"),
        (f"{SECRET} x\n".encode(), "a key of visible ASCII characters, without spaces there"),
        (f"{SECRET}\n\xff".encode("latin-1"), "a file of text in UTF-8"),
    ],
)
def test_a_secret_file_without_a_key_is_refused_with_its_path(
    content: bytes | None, expected: str, toml: Any, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    error = refusal(GATEWAY_CONFIG=toml("[upstreams.llama]\nurl = 'http://h'\napi_key_file = 'key'"))
    assert (error.setting, error.expected) == ("upstreams.llama.api_key_file", expected)
    # A bare word that is not a file may be the secret itself.
    assert error.value == ("****" if content is None else str(tmp_path / "key"))


def test_a_missing_secret_file_is_named(toml: Any, tmp_path: Path) -> None:
    error = refusal(GATEWAY_CONFIG=toml("[keys.ci]\nkey_file = 'ci.key'"))
    assert str(error) == str(
        ConfigError(
            "keys.ci.key_file",
            str(tmp_path / "ci.key"),
            "a file that can be read",
            "No such file or directory",
        )
    )


def test_a_model_whose_upstream_the_environment_replaced_is_refused(toml: Any) -> None:
    path = toml("[upstreams.a]\nurl = 'http://h'\n[models.m]\nupstream = 'a'")
    assert load({"GATEWAY_CONFIG": path}).models[0].upstream == "a"
    assert refusal(GATEWAY_CONFIG=path, GATEWAY_UPSTREAMS="b=http://h").setting == "models.m.upstream"


FILE = """
rate_limit_per_minute = 120
request_timeout_seconds = 30
default_upstream = "llama"
state_env = "REDIS_URL"
machines = 2

[upstreams.llama]
url = "http://llama:8001"
api_key_env = "GATEWAY_LLAMA_SECRET"
max_in_flight = 8

[upstreams."qwen-2.5"]
url = "https://q.example/v2"
api_key_file = "qwen.key"

[models."gpt-4.1"]
upstream = "llama"
model = "llama-3.3-70b"

[models.small]
upstream = "qwen-2.5"

[keys.ci]
key_env = "CI_KEY"
rate_limit_per_minute = 0
models = ["small", "llama/any"]

[keys.web]
sha256 = "%s"
"""


@pytest.fixture
def environ(toml: Any, tmp_path: Path) -> dict[str, str]:
    """A whole file, and what it points to."""
    (tmp_path / "qwen.key").write_text("qwen-secret\n")
    return {
        "GATEWAY_CONFIG": toml(FILE % hashlib.sha256(b"web-key").hexdigest().upper()),
        "GATEWAY_LLAMA_SECRET": "llama-secret",
        "REDIS_URL": "redis://:redis-secret@cache:6379/0",
        "CI_KEY": "ci-key-of-the-builds",
    }


def test_the_file_can_set_everything(environ: dict[str, str]) -> None:
    settings = load(environ)
    llama, qwen = settings.upstreams
    ci, web = settings.keys
    assert (settings.rate_limit_per_minute, settings.request_timeout_seconds, settings.machines) == (
        120,
        30.0,
        2,
    )
    assert isinstance(settings.request_timeout_seconds, float)
    assert settings.state == "redis://:redis-secret@cache:6379/0"
    assert settings.default_upstream == "llama"
    assert (llama.url, llama.max_in_flight) == ("http://llama:8001/v1", 8)
    assert llama.api_key is not None
    assert llama.api_key.reveal() == "llama-secret"
    assert qwen.api_key is not None
    assert qwen.api_key.reveal() == "qwen-secret"
    assert [(m.name, m.upstream, m.model) for m in settings.models] == [
        ("gpt-4.1", "llama", "llama-3.3-70b"),
        ("small", "qwen-2.5", "small"),
    ]
    assert (ci.id, ci.digest, ci.rate_limit_per_minute) == (
        "ci",
        hashlib.sha256(b"ci-key-of-the-builds").digest(),
        0,
    )
    assert ci.models == {"small", "llama/any"}
    assert (web.id, web.digest, web.models) == ("web", hashlib.sha256(b"web-key").digest(), None)
    assert settings.warnings == ()


def test_the_environment_wins_over_the_file_setting_by_setting(environ: dict[str, str]) -> None:
    environ |= {
        "GATEWAY_RATE_LIMIT_PER_MINUTE": "5",
        "GATEWAY_STATE": "memory://",
        "GATEWAY_UPSTREAM_LLAMA_API_KEY": "other",
        "GATEWAY_UPSTREAM_QWEN_2_5_MAX_IN_FLIGHT": "3",
        "GATEWAY_API_KEYS": "the-only-key-here",
    }
    # The file's place is not read if the environment sets the same secret.
    del environ["REDIS_URL"], environ["CI_KEY"], environ["GATEWAY_LLAMA_SECRET"]
    resolved = resolve(environ)
    settings = resolved.settings
    llama, qwen = settings.upstreams
    assert (settings.rate_limit_per_minute, settings.request_timeout_seconds) == (5, 30.0)
    assert settings.state == "memory://"
    assert llama.api_key is not None
    assert llama.api_key.reveal() == "other"
    assert (llama.max_in_flight, qwen.max_in_flight) == (8, 3)
    assert [key.digest for key in settings.keys] == [hashlib.sha256(b"the-only-key-here").digest()]
    assert len(settings.models) == 2
    assert settings.warnings == (
        "machines is above 1 but the state is not in Redis, so each machine keeps its own counts",
    )
    assert resolved.origins["rate_limit_per_minute"] is Origin.ENVIRONMENT
    assert resolved.origins["request_timeout_seconds"] is Origin.FILE
    assert resolved.origins["max_body_bytes"] is Origin.DEFAULT
    assert resolved.origins["upstreams.llama.api_key"] is Origin.ENVIRONMENT
    assert resolved.origins["upstreams.llama.max_in_flight"] is Origin.FILE


def test_upstreams_of_the_environment_replace_those_of_the_file(toml: Any) -> None:
    path = toml("[upstreams.a]\nurl = 'http://h'\napi_key_env = 'NOT_SET'\nmax_in_flight = 2")
    (upstream,) = load({"GATEWAY_CONFIG": path, "GATEWAY_UPSTREAMS": "a=http://i"}).upstreams
    assert (upstream.url, upstream.api_key, upstream.max_in_flight) == ("http://i/v1", None, 0)
