"""Mistakes in settings that newcomers made: what is refused, in which words, and what is warned about.

The inputs are those of people who came from other gateways, from containers and from Windows.
"""

from __future__ import annotations

import codecs
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_gateway.cli.main import main
from flask_gateway.config.errors import ConfigError
from flask_gateway.config.load import load
from flask_gateway.model.call import Caller

BASE = {"GATEWAY_API_KEYS": "a-key-of-my-own-1"}
Capture = pytest.CaptureFixture[str]


def refused(environ: dict[str, str]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(environ)
    return caught.value.lines()


@pytest.fixture
def from_file(toml: Any) -> Any:
    """The environment of a gateway with this settings file."""
    return lambda content: {**BASE, "GATEWAY_CONFIG": toml(content)}


# ---------------------------------------------------------------- all mistakes of one run


def test_every_mistake_of_the_environment_and_of_the_file_is_named(from_file: Any, capsys: Capture) -> None:
    environ = from_file(
        """
        rate_limit_per_minute = "many"
        [upstreams.a]
        url = "ftp://h"
        timeout = 5
        [upstreams.b]
        max_in_flight = 3
        [keys.ci]
        key_env = "NOT_SET"
        """
    )
    environ |= {"GATEWAY_LOG": "xml", "GATEWAY_THREADS": "0"}
    assert main(["check"], environ) == 78
    named = [line.split("=")[0].split(": ")[1] for line in capsys.readouterr().err.splitlines()]
    assert named == [
        "rate_limit_per_minute",
        "upstreams.a.url",
        "upstreams.a.timeout",
        "upstreams.b.url",
        "GATEWAY_LOG",
        "GATEWAY_THREADS",
    ]


def test_mistakes_between_settings_are_reported_together(from_file: Any) -> None:
    environ = from_file(
        """
        default_upstream = "zzz"
        [upstreams.a]
        url = "http://h"
        [models.m]
        upstream = "b"
        [keys.one]
        key_env = "SAME"
        [keys.two]
        key_env = "SAME"
        """
    )
    del environ["GATEWAY_API_KEYS"]
    assert [line.split(":")[0] for line in refused({**environ, "SAME": "the-same-key-twice"})] == [
        "default_upstream='zzz'",
        "models.m.upstream='b'",
        "keys.two",
    ]


def test_unknown_variables_are_all_named() -> None:
    lines = refused({**BASE, "GATEWAY_ABC123456789": "1", "GATEWAY_MASTER_KEY": "x"})
    assert lines == [
        "GATEWAY_ABC123456789='****': expected a known setting",
        "GATEWAY_MASTER_KEY='****': expected a known setting; did you mean GATEWAY_API_KEYS?",
    ]


def test_a_log_line_names_the_first_mistake_and_counts_the_others() -> None:
    with pytest.raises(ConfigError) as caught:
        load({**BASE, "GATEWAY_LOG": "xml", "GATEWAY_THREADS": "0"})
    assert str(caught.value).endswith("(and 1 more: `flask-gateway check` lists them)")
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- what was accepted


def test_a_star_in_the_models_of_a_key_stands_for_any_text(from_file: Any) -> None:
    environ = from_file("[keys.ci]\nkey_env = 'CI'\nmodels = ['gpt-4*', 'exact', 'open*/o?[1]']")
    del environ["GATEWAY_API_KEYS"]
    (key,) = load({**environ, "CI": "the-key-of-the-builds"}).keys
    caller = Caller("ci", 0, key.models)
    for model in ("gpt-4", "gpt-4o-mini", "exact", "openai/o?[1]", "openai/o1[1]"):
        assert caller.may_call(model), model
    for model in ("gpt-3.5", "a-gpt-4", "exactly", "openai/o11", "openai/o[1]", ""):
        assert not caller.may_call(model), model


@given(st.text("ab*?[]!\n.", max_size=8), st.sets(st.text("ab*?[]!\n.", min_size=1, max_size=6), max_size=4))
def test_a_glob_fits_as_fnmatch_with_star_and_question_mark_alone(model: str, names: set[str]) -> None:
    """Law 11 of the design of keys: ``[`` has no meaning of its own."""
    fits = any(fnmatchcase(model, name.replace("[", "[[]")) for name in names)
    assert Caller("ci", 0, frozenset(names)).may_call(model) == (fits or model in names)


@pytest.mark.parametrize("bind", ["0.0.0.0:8000", ":8000", "[::]:8000", "10.1.2.3:80,127.0.0.1:1"])
def test_a_guessable_key_is_refused_where_others_can_connect(bind: str, capsys: Capture) -> None:
    environ = {"GATEWAY_API_KEYS": "x", "GATEWAY_BIND": bind, "GATEWAY_UPSTREAMS": "m=mock://local"}
    assert main(["check"], environ) == 78
    assert "expected a key of at least 8 characters while others can connect" in capsys.readouterr().err
    assert main(["check"], {**environ, "GATEWAY_BIND": "127.0.0.1:8000"}) == 0
    assert main(["check"], {**environ, "GATEWAY_API_KEYS": "x" * 16}) == 0


# ---------------------------------------------------------------- what editors and containers add


@pytest.mark.parametrize(
    "keys",
    [
        '"my-key"',
        "'my-key'",
        '"one,two"',
        '"one","two"',
        "one,'two'",
        "\u201cmy-key\u201d",
        '"my-key',
        "my-key'",
    ],
)
def test_quotes_around_keys_are_refused(keys: str) -> None:
    (line,) = refused({"GATEWAY_API_KEYS": keys})
    assert "without quotes around it; `docker --env-file` keeps them" in line
    assert "my-key" not in line


def test_quotes_around_an_upstreams_key_are_refused() -> None:
    environ = {**BASE, "GATEWAY_UPSTREAMS": "a=http://h", "GATEWAY_UPSTREAM_A_API_KEY": '"sk-1"'}
    (line,) = refused(environ)
    assert line.startswith("GATEWAY_UPSTREAM_A_API_KEY='****': ")
    assert "without quotes" in line


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("UPSTREAMS", '"a=http://h"'),
        ("RATE_LIMIT_PER_MINUTE", "'5'"),
        ("REQUEST_TIMEOUT_SECONDS", '"30"'),
        ("LOG", '"json"'),
        ("STATE", "'shared://'"),
        ("CONFIG", '"/etc/gateway.toml"'),
        ("BIND", '"127.0.0.1:8000"'),
        ("DEFAULT_UPSTREAM", "'mock'"),
        ("FALLBACKS", '"a=mock"'),
        ("METRICS_KEY", '"a-key-of-its-own"'),
    ],
)
def test_quotes_around_any_other_value_are_named(variable: str, value: str) -> None:
    (line,) = refused({**BASE, f"GATEWAY_{variable}": value})
    assert "without quotes around it" in line


def test_a_byte_order_mark_in_a_secret_file_is_ignored(from_file: Any, tmp_path: Path) -> None:
    (tmp_path / "a.key").write_bytes(codecs.BOM_UTF8 + b"sk-right\r\n")
    environ = from_file("[upstreams.a]\nurl = 'http://h'\napi_key_file = 'a.key'")
    key = load(environ).upstreams[0].api_key
    assert key is not None
    assert key.reveal() == "sk-right"


def test_a_byte_order_mark_at_the_start_of_a_variable_is_refused() -> None:
    (line,) = refused({"GATEWAY_API_KEYS": "\ufeffmy-key"})
    assert "it begins with a byte order mark" in line


# ---------------------------------------------------------------- words that help


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"GATEWAY_UPSTREAMS": "a=http://x,b=http://y"}, "separate upstreams with ; and not with ,"),
        ({"GATEWAY_UPSTREAMS": "o=http://localhost:11434/api"}, "Ollama has one at http://localhost:11434, "),
        ({"GATEWAY_UPSTREAMS": "o=http://localhost:11434/api/chat"}, "without /api/chat"),
        ({"GATEWAY_UPSTREAMS": "o=https://h/v1/messages"}, "leave /messages off"),
        ({"GATEWAY_UPSTREAMS": "o=https://h/v1/models/"}, "leave /models off"),
        ({"GATEWAY_BIND": "8000"}, "did you mean 127.0.0.1:8000?"),
        ({"GATEWAY_BIND": "127.0.0.1:80000"}, "with a port from 0 to 65535"),
        ({"GATEWAY_BIND": "http://127.0.0.1:8000"}, "expected addresses to listen on"),
        ({"GATEWAY_PORT": "9000"}, "Kubernetes sets it for a Service named gateway"),
        ({"GATEWAY_HOST": "0.0.0.0"}, "GATEWAY_BIND takes host:port"),
        ({"GATEWAY_TIMEOUT": "30"}, "did you mean GATEWAY_REQUEST_TIMEOUT_SECONDS?"),
    ],
)
def test_a_refusal_of_the_environment_says_what_to_write(environ: dict[str, str], words: str) -> None:
    (line,) = refused({**BASE, **environ})
    assert words in line


@pytest.mark.parametrize(
    "bind", ["127.0.0.1:8000", ":8000", "[::1]:0", "unix:/run/g.sock", "localhost:80", "fd://3"]
)
def test_valid_addresses_of_gunicorn_are_accepted(bind: str) -> None:
    load({**BASE, "GATEWAY_BIND": f"{bind}, 127.0.0.1:9"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[upstreams.a]\nurl = 'http://h'\ntimeout = 30", "upstreams.a.timeout=30: expected a known setting"),
        ("[upstreams.a]\nurl = 'http://h'\ntimeout = 30", "the timeouts are connect_seconds, "),
        ("[upstreams.a]\nbase_url = 'http://h'", "did you mean url?"),
        ("[upstreams.a]\nurl = 'http://h'\nheaders = {a = 'b'}", "headers of your own are not offered"),
        ("[upstreams.a]\nurl = 'http://h'\nweight = 2", "a weight belongs to a candidate"),
        ("[upstreams.a]\nurl = 'http://h'\nzzz = 2", "known are url, url_env, url_path, "),
        ("[keys.a]\nkey_env = 'K'\nbudget = 10.5", "keys.a.budget=10.5: expected a known setting; budgets"),
        ("model_list:\n  - model_name: gpt-4o\n", "this is YAML: write it as TOML"),
        ("# a comment\n---\nlitellm_settings:\n", "this is YAML: write it as TOML"),
        ("[upstreams.a\nurl = 1", "expected a TOML file; "),
    ],
)  # fmt: skip
def test_a_refusal_of_the_file_says_what_to_write(text: str, words: str, from_file: Any) -> None:
    (line,) = refused(from_file(text))
    assert words in line
