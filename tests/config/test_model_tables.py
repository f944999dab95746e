"""Tests the settings of a model that change its calls, and the URL of an upstream from a variable."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from flask_gateway.config.describe import describe
from flask_gateway.config.errors import ConfigError
from flask_gateway.config.load import load, resolve
from flask_gateway.config.schema import Settings
from flask_gateway.model.call import BodyOverrides

UPSTREAM = "[upstreams.a]\nurl = 'http://h'\n"


def read(folder: Path, text: str, **environ: str) -> Settings:
    path = folder / "gateway.toml"
    path.write_text(text)
    return load({"GATEWAY_API_KEYS": "a-key-of-my-own-1", "GATEWAY_CONFIG": str(path), **environ})


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "set = 1",
            'models.m.set=1: expected a table of fields of the body, such as { reasoning_effort = "high" }',
        ),
        ("set = { model = 'x' }", "model is not allowed there: the candidate's model is set in"),
        ("set = { stream = true }", "stream is not allowed there: the caller decides on it"),
        (
            "default = { api_base = 'http://x' }",
            "api_base is not allowed there: the address and the key belong",
        ),
        ("set = { at = 2026-01-01 }", "see at: JSON has no such value"),
        ("set = { x = nan }", "see x: JSON has no such value"),
        ("set = { x = [[inf]] }", "see x: JSON has no such value"),
        (f"set = {{ x = '{'a' * 70_000}' }}", "or it is too long"),
        ("defaults = {}", "did you mean default?"),
        ("aliases = []", "expected a list of one or more further names of the model"),
        ("aliases = ['m']", "models.m.aliases='m': expected a name that no other model has; m has it"),
        ("aliases = ['x']\n[models.x]\nupstream = 'a'", "expected a name that no other model has; x has it"),
        ("aliases = ['y']\n[models.x]\nupstream = 'a'\naliases = ['y']", "m has it"),
    ],
)
def test_an_unusable_table_of_a_model_is_refused(text: str, line: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, f"{UPSTREAM}[models.m]\nupstream = 'a'\n{text}")
    assert line in str(caught.value)


@pytest.mark.parametrize(
    ("text", "environ", "line"),
    [
        (
            "url_env = 'PLACE'",
            {},
            "upstreams.a.url_env='PLACE': expected the name of an environment variable",
        ),
        ("url_env = 'PLACE'", {"PLACE": ""}, "it is empty"),
        (
            "url_env = 'PLACE'",
            {"PLACE": "h:1"},
            "upstreams.a.url_env='PLACE': expected a URL that begins with",
        ),
        ("url_env = 'PLACE'", {"PLACE": "http://u:PLANTED7secret@h"}, "expected a URL without credentials"),
        (
            "url_env = 'PLACE'\nurl = 'http://h'",
            {"PLACE": "http://h"},
            "expected only one of url and url_env",
        ),
        ("url_path = '/v1'\nurl = 'http://h'", {}, "expected only one of url and url_path"),
        ("url_env = 'PLACE'\nurl_path = 'v1'", {"PLACE": "http://h"}, "expected a path such as /openai/v1"),
        (
            "url_env = 'PLACE'\nurl_path = '/../v1'",
            {"PLACE": "http://h"},
            "expected a path such as /openai/v1",
        ),
    ],
)
def test_an_unusable_url_of_a_variable_is_refused(
    text: str, environ: dict[str, str], line: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, f"[upstreams.a]\n{text}", **environ)
    assert line in str(caught.value)
    assert "PLANTED7secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "path", "base"),
    [
        ("http://h/", "", "http://h/v1"),
        ("http://h:80/v1/", "", "http://h:80/v1"),
        ("https://h", "/openai/v1", "https://h/openai/v1"),
        ("https://h/openai/v1/", "/openai/v1/", "https://h/openai/v1"),
        ("mock://local", "", "mock://local"),
    ],
)
def test_a_url_comes_from_a_variable(url: str, path: str, base: str, tmp_path: Path) -> None:
    more = f"url_path = '{path}'" if path else ""
    settings = read(tmp_path, f"[upstreams.a]\nurl_env = 'GATEWAY_OF_MINE'\n{more}", GATEWAY_OF_MINE=url)
    assert [upstream.url for upstream in settings.upstreams] == [base]


def test_fields_of_a_candidate_win_over_those_of_its_model(tmp_path: Path) -> None:
    text = """
    [models.m]
    tiers = [[{ upstream = "a", set = { x = 2 } }, "a/other"]]
    fallbacks = ["a/third"]
    set = { x = 1, y = [true] }
    default = { z = "ü" }
    """
    (model,) = read(tmp_path, UPSTREAM + text).models
    (first, second), (third,) = model.tiers
    assert first.set == {"x": b"2", "y": b"[true]"}
    assert second.set == third.set == {"x": b"1", "y": b"[true]"}
    assert first.default == {"z": '"ü"'.encode()}


def test_check_shows_fields_and_aliases(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(
        f"{UPSTREAM}[models.m]\nupstream = 'a'\naliases = ['n']\nset = {{ x = 'PLANTED7secret' }}"
    )
    lines = list(describe(resolve({"GATEWAY_CONFIG": str(path)})))
    assert "models.m = m at a (sets x), also called n  (from file)" in lines


def test_a_limit_of_the_length_replaces_its_other_names() -> None:
    def applied(overrides: BodyOverrides, **fields: int) -> dict[str, object]:
        encoded = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in fields.items()}
        return {name: msgspec.json.decode(value) for name, value in overrides.applied_to(encoded).items()}

    limit = {"max_tokens": msgspec.Raw(b"9")}
    assert applied(BodyOverrides(limit, {}), max_completion_tokens=5) == {"max_tokens": 9}
    assert applied(BodyOverrides({}, limit), max_output_tokens=5) == {"max_output_tokens": 5}
    assert applied(BodyOverrides({}, limit), x=1) == {"max_tokens": 9, "x": 1}
