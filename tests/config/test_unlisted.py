"""Tests ``unlisted_models``: the names without a table that may reach an upstream."""

from __future__ import annotations

from pathlib import Path

import pytest

from flask_gateway.config.errors import ConfigError
from flask_gateway.config.load import load

MODEL = '[upstreams.a]\nurl = "http://a"\n[upstreams.b]\nurl = "http://b"\n[models.m]\nupstream = "a"\n'


def write(folder: Path, text: str) -> dict[str, str]:
    path = folder / "gateway.toml"
    path.write_text(text)
    return {"GATEWAY_CONFIG": str(path), "GATEWAY_API_KEYS": "0123456789abcdef"}


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ('"none"', ()),
        ("[]", ()),
        ('"*"', ("*",)),
        ('"openai/*, gpt-*"', ("openai/*", "gpt-*")),
        ('["openai/*", "a b", "openai/*"]', ("openai/*", "a b")),
    ],
)
def test_names(tmp_path: Path, written: str, names: tuple[str, ...]) -> None:
    environ = write(tmp_path, f"unlisted_models = {written}\n{MODEL}")
    assert load(environ).unlisted_models == names
    if written.startswith('"'):
        variable = {"GATEWAY_UNLISTED_MODELS": written.strip('"')}
        assert load(write(tmp_path, MODEL) | variable).unlisted_models == names


@pytest.mark.parametrize("written", ["true", '""', '"a,"', "[1]", '["a\\n"]', "{}"])
def test_a_value_that_names_nothing_is_refused(tmp_path: Path, written: str) -> None:
    with pytest.raises(ConfigError, match=r"unlisted_models=.*expected names separated by commas"):
        load(write(tmp_path, f"unlisted_models = {written}\n{MODEL}"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (MODEL, "there are 2 upstreams and no default"),
        (f'unlisted_models = "none"\n{MODEL}', ""),
        (f'unlisted_models = "none"\ndefault_upstream = "a"\n{MODEL}', "default_upstream has no effect"),
        ('unlisted_models = "none"\n[upstreams.a]\nurl = "http://a"\n', "so every model is refused"),
    ],
)
def test_warnings(tmp_path: Path, text: str, said: str) -> None:
    (*found,) = load(write(tmp_path, text)).warnings
    assert len(found) == bool(said)
    assert all(said in warning for warning in found)
