"""Tests which settings are refused and accepted, their values, and that no secret is printed."""

from __future__ import annotations

import hashlib
import os
import re
import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_gateway.config import ConfigError, Origin, describe, load, refuse_exposed_dev_key, resolve
from flask_gateway.config.options import OPTIONS, PER_UPSTREAM, SCALARS, SERVER, Option
from flask_gateway.config.schema import Secret, Settings, mask_url

ROOT = Path(__file__).parents[2]
SECRET = "PLANTED7secret"
BASE = {"GATEWAY_API_KEYS": "a-key-of-my-own-1"}


def refusal(**environ: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(environ)
    line = str(caught.value)
    assert "\n" not in line
    assert SECRET not in line + repr(caught.value)
    return caught.value


@pytest.fixture
def toml(tmp_path: Path) -> Any:
    def write(text: str) -> str:
        path = tmp_path / "gateway.toml"
        path.write_text(text)
        return str(path)

    return write


# ---------------------------------------------------------------- refused: the environment

COUNT = "expected a whole number of requests per minute, 0 for unlimited"
SECONDS = "expected a number of seconds above 0"
FAILURES = "expected a whole number of failures, at least 1"


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        ("RATE_LIMIT_PER_MINUTE", "sixty", f"='sixty': {COUNT}"),
        ("RATE_LIMIT_PER_MINUTE", "", f"='': {COUNT}"),
        ("RATE_LIMIT_PER_MINUTE", "-1", f"='-1': {COUNT}"),
        ("RATE_LIMIT_PER_MINUTE", "1.5", f"='1.5': {COUNT}"),
        ("RATE_LIMIT_PER_MINUTE", "1_0", f"='1_0': {COUNT}"),
        ("RATE_LIMIT_PER_MINUTE", "٣", f"='٣': {COUNT}"),
        ("RATE_LIMIT_PER_MINUTE", "10000001", f"='10000001': {COUNT}, at most 10000000"),
        ("RATE_LIMIT_PER_MINUTE", "9" * 6000, f"='{'9' * 119}…: {COUNT}, at most 10000000"),
        ("RATE_LIMIT_PER_MINUTE", "a\nb", f"='a\\nb': {COUNT}"),
        ("MAX_CONCURRENT_PER_KEY", "-2", "='-2': expected a whole number of calls at once, 0 for unlimited"),
        ("CIRCUIT_BREAKER_MAX_FAILURES", "0", f"='0': {FAILURES}"),
        ("CIRCUIT_BREAKER_RESET_SECONDS", "nan", f"='nan': {SECONDS}"),
        ("CIRCUIT_BREAKER_RESET_SECONDS", "inf", f"='inf': {SECONDS}"),
        ("CIRCUIT_BREAKER_RESET_SECONDS", "1e999", f"='1e999': {SECONDS}, from 0.001 to 10000000"),
        (
            "CIRCUIT_BREAKER_SUCCESSES",
            "0",
            "='0': expected a whole number of successes, at least 1",
        ),
        (
            "CIRCUIT_BREAKER_SLOW_SECONDS",
            "-1",
            "='-1': expected a number of seconds, 0 for never",
        ),
        ("REQUEST_TIMEOUT_SECONDS", "0", f"='0': {SECONDS}, from 0.001 to 10000000"),
        ("REQUEST_TIMEOUT_SECONDS", "10s", f"='10s': {SECONDS}"),
        ("MAX_BODY_BYTES", "16MB", "='16MB': expected a whole number of bytes, at least 1"),
        ("MACHINES", "0", "='0': expected a whole number of machines, at least 1"),
        ("LOG", "jsn", "='jsn': expected json or text; did you mean json?"),
        ("WORKERS", "0", "='0': expected a whole number of processes, at least 1"),
        ("THREADS", "many", "='many': expected a whole number of threads, at least 1"),
        ("GRACEFUL_SECONDS", "0", "='0': expected a whole number of seconds, at least 1"),
        ("BIND", " ", "=' ': expected addresses to listen on, such as 127.0.0.1:8000"),
        (
            "UPSTREAM_MOCK_MAX_IN_FLIGHT",
            "x",
            "='x': expected a whole number of calls at once, 0 for unlimited",
        ),
        (
            "DEFAULT_UPSTREAM",
            "mok",
            "='mok': expected the name of an upstream that is set; did you mean mock?",
        ),
        ("DEFAULT_UPSTREAM", "zzz", "='zzz': expected the name of an upstream that is set; there are mock"),
    ],
)
def test_an_invalid_value_is_refused_with_its_name_and_the_expected_value(
    variable: str, value: str, line: str
) -> None:
    assert str(refusal(**{f"GATEWAY_{variable}": value})) == f"GATEWAY_{variable}{line}"


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("GATEWAY_RATE_LIMT_PER_MINUTE", "did you mean GATEWAY_RATE_LIMIT_PER_MINUTE?"),
        ("GATEWAY_API_KEY", "did you mean GATEWAY_API_KEYS?"),
        ("GATEWAY_UPSTREAM", "did you mean GATEWAY_UPSTREAMS?"),
        ("GATEWAY_UPSTREAM_LAMA_API_KEY", "did you mean GATEWAY_UPSTREAM_LLAMA_API_KEY?"),
        ("GATEWAY_UPSTREAM_LLAMA_APIKEY", "did you mean GATEWAY_UPSTREAM_LLAMA_API_KEY?"),
        (
            "GATEWAY_PORT_8000_TCP",
            "Kubernetes sets it for a Service named gateway: turn enableServiceLinks off",
        ),
    ],
)
def test_an_unknown_variable_is_refused_with_the_nearest_name_and_without_its_value(
    variable: str, hint: str
) -> None:
    error = refusal(**{variable: SECRET, "GATEWAY_UPSTREAMS": "llama=http://h"})
    assert str(error) == f"{variable}='****': expected a known setting; {hint}"


@pytest.mark.parametrize(
    ("keys", "hint"),
    [
        ("", "key 1 is empty"),
        (f"{SECRET},", "key 2 is empty"),
        (f"{SECRET}, ,b", "key 2 is empty"),
        (f"a,{SECRET} x", "key 2 has a space or another character that is not allowed"),
        (f"{SECRET}é", "key 1 has a space or another character that is not allowed"),
        (f"a\x00{SECRET}", "key 1 has a space or another character that is not allowed"),
        (f"{SECRET}\udc80", "key 1 has a space or another character that is not allowed"),
        (f"{SECRET},b,{SECRET}", "key 3 repeats key 1"),
    ],
)
def test_invalid_api_keys_are_refused_with_their_position(keys: str, hint: str) -> None:
    error = refusal(GATEWAY_API_KEYS=keys)
    assert (error.setting, error.value, error.hint) == ("GATEWAY_API_KEYS", "****", hint)


@pytest.mark.parametrize("key", ["", " ", f"{SECRET} ", f"{SECRET}\n", f"{SECRET}ü"])
def test_an_invalid_upstream_key_is_refused_and_masked(key: str) -> None:
    error = refusal(GATEWAY_UPSTREAM_MOCK_API_KEY=key)
    assert (error.setting, error.value) == ("GATEWAY_UPSTREAM_MOCK_API_KEY", "****")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ftp://h", "a URL that begins with http://, https://, mock://"),
        ("localhost:8001", "a URL that begins with http://, https://, mock://"),
        ("http:/h", "a URL that begins with http://, https://, mock://"),
        ("file:///etc/passwd", "a URL that begins with http://, https://, mock://"),
        ("http://", "a host in the URL, as in http://localhost"),
        ("http://:8001", "a host in the URL, as in http://localhost"),
        ("mock://", "a host in the URL, as in mock://localhost"),
        ("http://h:", "a URL with a port from 1 to 65535"),
        ("http://h:0", "a URL with a port from 1 to 65535"),
        ("http://h:65536", "a URL with a valid host and a port from 1 to 65535"),
        ("http://h:80x", "a URL with a valid host and a port from 1 to 65535"),
        ("http://h:-1", "a URL with a valid host and a port from 1 to 65535"),
        ("http://::1", "a URL with a valid host and a port from 1 to 65535"),
        ("http://[::1", "a URL with a valid host and a port from 1 to 65535"),
        ("http://[::g]", None),
        ("http://[v1.x]", None),
        ("http://h,k", "a host name or an address in the URL, an IPv6 address in [brackets]"),
        ("http://h..k", "a host name or an address in the URL, an IPv6 address in [brackets]"),
        ("http://h\\k", "a host name or an address in the URL, an IPv6 address in [brackets]"),
        ("http://h/a b", "a URL in ASCII, without spaces or control characters"),
        ("http://h/\x7f", "a URL in ASCII, without spaces or control characters"),
        ("http://bücher", "a URL in ASCII, without spaces or control characters"),
        (f"http://h?k={SECRET}", "a URL without query or fragment"),
        ("http://h?", "a URL without query or fragment"),
        (f"http://h#{SECRET}", "a URL without query or fragment"),
        ("http://h/../x", "a URL whose path has no . or .. segments"),
        ("http://h/v1/chat/completions", "the base of the API"),
        ("http://h/v1/chat/completions/", "the base of the API"),
        ("http://h/chat/completions?api-version=1", "the base of the API"),
        (f"http://user:{SECRET}@h", "a URL without credentials"),
        (f"http://{SECRET}@h", "a URL without credentials"),
        (f"http://u:80/{SECRET}@h", "a URL without credentials"),
        (f"http://u:{SECRET}?x@h@i", "a URL without credentials"),
        (f"mock://u:{SECRET}@local", "a URL without credentials"),
    ],
)
def test_an_upstream_url_that_cannot_work_is_refused(url: str, expected: str | None, toml: Any) -> None:
    in_environment = refusal(GATEWAY_UPSTREAMS=f"llama={url}")
    assert in_environment.setting == "GATEWAY_UPSTREAMS"
    escaped = "".join(char if ord(char) >= 32 and ord(char) != 127 else f"\\u{ord(char):04x}" for char in url)
    escaped = escaped.replace("h\\k", "h\\\\k")
    in_file = refusal(GATEWAY_CONFIG=toml(f'[upstreams.llama]\nurl = "{escaped}"'))
    assert in_file.setting == "upstreams.llama.url"
    if expected is not None:
        assert in_environment.expected == in_file.expected == expected


def test_a_full_url_is_refused_with_the_path_to_remove() -> None:
    assert str(refusal(GATEWAY_UPSTREAMS="a=http://h; llama=http://h/v1/chat/completions")) == (
        "GATEWAY_UPSTREAMS='llama=http://h/v1/chat/completions': expected the base of the API; "
        "see the URL in entry 2; leave /chat/completions off, the gateway adds it"
    )


@pytest.mark.parametrize(
    ("listed", "expected", "hint"),
    [
        ("", "name=url;name=url, for example llama=http://localhost:8001", None),
        (" ; ", "name=url;name=url, for example llama=http://localhost:8001", "entry 1 has no ="),
        ("http://h", "name=url;name=url, for example llama=http://localhost:8001", "entry 1 has no ="),
        (
            "a=http://h;;b=http://h",
            "name=url;name=url, for example llama=http://localhost:8001",
            "entry 2 has no =",
        ),
        ("a=http://h;a=http://i", "every upstream to have a name of its own", "entry 2 repeats one"),
        ("=http://h", None, "see the name in entry 1"),
        ("-a=http://h", None, "see the name in entry 1"),
        ("a b=http://h", None, "see the name in entry 1"),
        (f"{'a' * 65}=http://h", None, "see the name in entry 1"),
        ("ä=http://h", None, "see the name in entry 1"),
        (f"a=http://u:p;{SECRET}=x@h", None, None),
        (f"a=http://u:p={SECRET};x@h", None, None),
        (f"http://u:{SECRET}=p@h", None, None),
    ],
)
def test_an_invalid_list_of_upstreams_is_refused_with_the_position(
    listed: str, expected: str | None, hint: str | None
) -> None:
    error = refusal(GATEWAY_UPSTREAMS=listed)
    assert error.setting == "GATEWAY_UPSTREAMS"
    assert error.expected == (expected or error.expected)
    assert error.hint == (hint or error.hint)


def test_upstreams_that_share_the_name_of_their_variables_are_refused() -> None:
    assert str(refusal(GATEWAY_UPSTREAMS="a.b=http://h;a-B=http://h")) == (
        "upstreams.a-B: expected a name that makes GATEWAY_UPSTREAM_A_B_API_KEY its own; a.b has that one too"
    )


@pytest.mark.parametrize(
    "state",
    [
        "",
        SECRET,
        f"reds://:{SECRET}@h",
        f"shared://{SECRET}",
        "redis://",
        f"redis://:{SECRET}",
        f"redis://:{SECRET}@",
        f"redis://:{SECRET}/x@h",
        f"redis://u:80/{SECRET}@h",
        f"redis://:a#{SECRET}@h",
        f"redis://:a@{SECRET}@h",
        f"redis://:{SECRET} @h",
        f"redis://h:{SECRET}",
        f"redis://:{SECRET}@h:0",
        f"redis://h?password={SECRET}@x",
    ],
)
def test_an_invalid_state_url_is_refused_and_masked(state: str) -> None:
    error = refusal(GATEWAY_STATE=state)
    assert (error.setting, error.value) == ("GATEWAY_STATE", "****")


# ---------------------------------------------------------------- refused: the file


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
            "name its place with api_key_env or api_key_file",
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
            "in which * stands for any text",
        ),
        (
            "[keys.ci]\nkey_env = 'GOOD'\nmodels = [1]",
            "keys.ci.models='a list': expected a list of one or more names of models, "
            "in which * stands for any text",
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


# ---------------------------------------------------------------- accepted


def test_without_settings_the_mock_serves_with_the_defaults() -> None:
    settings = load({"PATH": "/bin"})
    assert [(upstream.name, upstream.url) for upstream in settings.upstreams] == [("mock", "mock://local")]
    assert settings.default_upstream == "mock"
    assert [key.digest for key in settings.keys] == [hashlib.sha256(b"dev-key").digest()]
    for name in (option.name for option in SCALARS if option.name != "default_upstream"):
        assert getattr(settings, name) == getattr(Settings(keys=(), upstreams=()), name), name
    assert "dev-key" in settings.warnings[0]
    assert "GATEWAY_UPSTREAMS" in settings.warnings[1]


@pytest.mark.parametrize(
    "option", [option for option in OPTIONS if option.default is not None], ids=lambda o: o.name
)
def test_setting_the_default_is_the_same_as_not_setting_it(option: Option) -> None:
    same = load({option.variable: option.default or ""})
    expected = load({})
    if option.name == "upstreams":
        same = msgspec.structs.replace(same, warnings=expected.warnings)
    assert same == expected


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://host:8001", "http://host:8001/v1"),
        ("http://host:8001/", "http://host:8001/v1"),
        ("http://host:8001/v1", "http://host:8001/v1"),
        ("http://host:8001/v1/", "http://host:8001/v1"),
        ("HTTP://HOST:8001/V", "http://host:8001/V/v1"),
        ("http://h/llm", "http://h/llm/v1"),
        ("http://h/llm/v1", "http://h/llm/v1"),
        ("https://x/v1beta/openai", "https://x/v1beta/openai"),
        ("https://x/api/paas/v4/", "https://x/api/paas/v4"),
        ("https://x/vision", "https://x/vision/v1"),
        ("http://[::1]:8001", "http://[::1]:8001/v1"),
        ("http://[2001:DB8::1]", "http://[2001:db8::1]/v1"),
        ("http://127.0.0.1", "http://127.0.0.1/v1"),
        ("http://vllm_1.internal.:80", "http://vllm_1.internal.:80/v1"),
        ("mock://local", "mock://local"),
        ("mock://local?fail=503&delay=1", "mock://local?fail=503&delay=1"),
    ],
)
def test_an_upstream_url_becomes_a_base(url: str, base: str) -> None:
    (upstream,) = load({"GATEWAY_UPSTREAMS": f"llama={url}"}).upstreams
    assert upstream.url == base
    if base.startswith("http"):
        (again,) = load({"GATEWAY_UPSTREAMS": f"llama={base}"}).upstreams
        assert again.url == base


def test_upstreams_of_the_environment() -> None:
    settings = load(
        {
            **BASE,
            "GATEWAY_UPSTREAMS": " llama = http://h ;\n qwen-2.5=https://q/v2 ; ",
            "GATEWAY_UPSTREAM_QWEN_2_5_API_KEY": SECRET,
            "GATEWAY_UPSTREAM_LLAMA_MAX_IN_FLIGHT": "4",
        }
    )
    llama, qwen = settings.upstreams
    assert (llama.name, llama.url, llama.api_key, llama.max_in_flight) == ("llama", "http://h/v1", None, 4)
    assert (qwen.name, qwen.url, qwen.max_in_flight) == ("qwen-2.5", "https://q/v2", 0)
    assert isinstance(qwen.api_key, Secret)
    assert qwen.api_key.reveal() == SECRET
    assert settings.default_upstream is None
    assert settings.warnings == (
        "there are 2 upstreams and no default, so a model that no rule places is refused: "
        "set GATEWAY_DEFAULT_UPSTREAM to one of llama, qwen-2.5",
    )
    assert SECRET not in repr(settings)


@pytest.mark.parametrize(
    ("environ", "default"),
    [
        ({"GATEWAY_UPSTREAMS": "a=http://h"}, "a"),
        ({"GATEWAY_UPSTREAMS": "a=http://h;b=http://h"}, None),
        ({"GATEWAY_UPSTREAMS": "a=http://h;b=http://h", "GATEWAY_DEFAULT_UPSTREAM": "b"}, "b"),
    ],
)
def test_the_default_upstream(environ: dict[str, str], default: str | None) -> None:
    assert load(environ).default_upstream == default


def test_keys_of_the_environment_are_stored_as_digests() -> None:
    one, two = load({"GATEWAY_API_KEYS": f"{SECRET} , b=c;d"}).keys
    assert one.digest == hashlib.sha256(SECRET.encode()).digest()
    assert one.id == f"key-{one.digest.hex()[:8]}"
    assert (one.rate_limit_per_minute, one.models) == (None, None)
    assert two.digest == hashlib.sha256(b"b=c;d").digest()


@pytest.mark.parametrize(
    "state",
    [
        "memory://",
        "shared://",
        f"redis://:{SECRET}@h:6379/0",
        f"rediss://u:{SECRET}@[::1]",
        "redis://127.0.0.1:6379/0",
        "rediss://cache",
    ],
)
def test_the_state_url_is_stored_and_masked(state: str) -> None:
    settings = load({**BASE, "GATEWAY_STATE": state})
    assert settings.state == state
    assert SECRET not in repr(settings)


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


# ---------------------------------------------------------------- the published key

DEV = load({})


@pytest.mark.parametrize(
    "bind",
    [":8000", "", "0.0.0.0:8000", "0.0.0.0", "[::]:8000", "10.0.0.1:80", "example.org:80", "8000", "::1",
     "/run/g.sock", "[::ffff:127.0.0.1]:80", "127.0.0.1:80,0.0.0.0:80", "tcp://0.0.0.0:80",
     "x[127.0.0.1]", "localhost.evil.org"],
)  # fmt: skip
def test_the_dev_key_is_refused_where_others_can_connect(bind: str) -> None:
    with pytest.raises(ConfigError, match=r"^GATEWAY_BIND='.*': expected an address of this machine only"):
        refuse_exposed_dev_key(DEV, ["127.0.0.1:8000", bind])
    refuse_exposed_dev_key(load(BASE), [bind])


@pytest.mark.parametrize(
    "bind",
    ["127.0.0.1:8000", "127.8.9.1", "localhost:80", "LOCALHOST", "[::1]:80", "[::1]", "unix:/run/g.sock",
     "unix:g.sock", "fd://3", "tcp://127.0.0.1:80", "127.0.0.1:80, [::1]:80"],
)  # fmt: skip
def test_the_dev_key_may_stay_on_this_machine(bind: str) -> None:
    refuse_exposed_dev_key(DEV, [bind])


def test_the_dev_key_is_known_by_its_digest_too(toml: Any) -> None:
    settings = load(
        {"GATEWAY_CONFIG": toml(f"[keys.x]\nsha256 = '{hashlib.sha256(b'dev-key').hexdigest()}'")}
    )
    with pytest.raises(ConfigError):
        refuse_exposed_dev_key(settings, [":80"])


# ---------------------------------------------------------------- nothing gets out, nothing else is raised

JUNK = st.text(max_size=12) | st.text(alphabet=";=,@:/?#[] \n%v1", max_size=12)
VARIABLES = [option.variable for option in OPTIONS]
SECRETIVE = [
    ("GATEWAY_API_KEYS", "{0}{secret}{1}"),
    ("GATEWAY_STATE", "{0}{secret}{1}"),
    ("GATEWAY_STATE", "redis://{0}:{secret}@{1}"),
    ("GATEWAY_STATE", "redis://{0}:{secret}{1}@host"),
    ("GATEWAY_UPSTREAM_MOCK_API_KEY", "{0}{secret}{1}"),
    ("GATEWAY_UPSTREAMS", "a=http://{0}:{secret}@{1}"),
    ("GATEWAY_UPSTREAMS", "a=http://{0}:{1}{secret}@host"),
    ("GATEWAY_UPSTREAMS", "{0}http://u:{secret}{1}@host"),
    ("GATEWAY_DEFAULT_UPSTREAM", "http://u:{secret}@{0}{1}"),
    ("GATEWAY_MADE_UP", "{0}{secret}{1}"),
]


def one_line(text: str) -> str:
    assert text.isprintable()
    return text


def said(environ: dict[str, str]) -> str:
    """All that an operator would read."""
    try:
        resolved = resolve(environ)
    except ConfigError as error:
        return one_line(str(error))
    return "\n".join([*describe(resolved), *resolved.settings.warnings, repr(resolved)])


@settings(max_examples=400, deadline=None)
@given(
    variable=st.sampled_from(VARIABLES), text=JUNK | st.sampled_from(["0", "1", "1e3", "mock", "a=mock://b"])
)
def test_any_text_in_any_setting_is_accepted_or_refused(variable: str, text: str) -> None:
    said({variable: text})


@settings(max_examples=600, deadline=None)
@given(planted=st.sampled_from(SECRETIVE), before=JUNK, after=JUNK)
def test_a_secret_is_never_printed(planted: tuple[str, str], before: str, after: str) -> None:
    variable, form = planted
    assert SECRET not in said({variable: form.format(before, after, secret=SECRET)})


@settings(max_examples=300, deadline=None)
@given(text=st.text(alphabet="[]keysmodluptra.=\"'\n 0{},x_#", max_size=60))
def test_any_file_is_accepted_or_refused(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text(text)
    said({"GATEWAY_CONFIG": str(path)})


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://h:1/v1", "http://h:1/v1"),
        ("redis://:p@h:1/0?x=1", "redis://****@h:1/0?****"),
        ("u:p@h", "****@h"),
        ("redis://:p/q@h", "redis://****"),
        ("redis://:p@q@h", "redis://****"),
        ("redis://h?password=p@q", "redis://****"),
        ("p@q@h", "****"),
        ("http://h#x", "http://h#****"),
        ("", ""),
    ],
)
def test_mask_url(url: str, shown: str) -> None:
    assert mask_url(url) == shown


# ---------------------------------------------------------------- the documents


def test_the_documentation_has_every_setting_with_its_default() -> None:
    rows = (ROOT / "docs" / "configuration.md").read_text().splitlines()
    names = [(option.variable, option) for option in OPTIONS]
    names += [(f"GATEWAY_UPSTREAM_<NAME>_{option.name.upper()}", option) for option in PER_UPSTREAM]
    for variable, option in names:
        (row,) = [row for row in rows if row.startswith(f"| `{variable}` |")]
        default, _, file_key = [cell.strip() for cell in row.strip("|").split("|")][1:]
        assert option.default is None or default.startswith(f"`{option.default}`"), row
        assert not option.in_file or option.name in file_key, row


def test_the_readme_names_settings_with_their_defaults() -> None:
    options = {option.variable: option for option in OPTIONS}
    options |= {f"GATEWAY_UPSTREAM_<NAME>_{option.name.upper()}": option for option in PER_UPSTREAM}
    rows = [row for row in (ROOT / "README.md").read_text().splitlines() if row.startswith("| `GATEWAY_")]
    assert rows
    for row in rows:
        variables, defaults = [cell.strip() for cell in row.strip("|").split("|")][:2]
        fixed = [options[name].default for name in re.findall(r"`([^`]+)`", variables)]
        shown = [default.strip(" `") for default in defaults.split(",")]
        expected = [default for default in fixed if default is not None]
        assert [default for default in shown if default in expected] == expected, row


@pytest.mark.parametrize("option", [*OPTIONS, *PER_UPSTREAM], ids=lambda option: option.name)
def test_every_setting_has_a_description(option: Option) -> None:
    assert option.description
    assert not option.description.endswith(".")


def test_gunicorn_conf_has_the_same_defaults() -> None:
    lines = (ROOT / "gunicorn.conf.py").read_text().splitlines()
    for option in SERVER:
        (line,) = [line for line in lines if f'"{option.variable}"' in line]
        assert option.default is None or re.search(rf"\b{re.escape(option.default)}\b", line), line


def test_the_example_is_valid(tmp_path: Path) -> None:
    text = (ROOT / "deploy" / "gateway.example.toml").read_text()
    (tmp_path / "gateway.toml").write_text(text)
    environ = {"GATEWAY_CONFIG": str(tmp_path / "gateway.toml")}
    for field, place in re.findall(r'^(\w+)_(?:env|file) = "([^"]+)"', text, re.MULTILINE):
        secret = "redis://:pw@cache:6379/0" if field == "state" else f"secret-{place}"
        environ[place] = secret
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text(secret)
    settings = load(environ)
    assert settings.warnings == ()
    assert len(settings.upstreams) > 1
    assert settings.models
    assert settings.keys
    assert text in (ROOT / "docs" / "configuration.md").read_text()


@pytest.mark.parametrize("name", ["staging", "a.b-c_1"])
def test_a_namespace_of_the_state(name: str) -> None:
    environ = {"GATEWAY_STATE_NAMESPACE": name, "GATEWAY_STATE": "redis://localhost:6379/0"}
    resolved = resolve(environ)
    assert resolved.settings.state_namespace == name
    assert not [warning for warning in resolved.settings.warnings if "namespace" in warning]
    del environ["GATEWAY_STATE"]
    assert "state_namespace is set but the state is not in Redis, so it changes nothing" in (
        resolve(environ).settings.warnings
    )


@pytest.mark.parametrize("name", ["a/b", "a:b", "*", "", "a b", "x" * 65])
def test_an_invalid_namespace_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="GATEWAY_STATE_NAMESPACE"):
        resolve({"GATEWAY_STATE_NAMESPACE": name})
