"""Tests that the documents and gunicorn.conf.py name every setting with its default."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flask_gateway.config.load import load
from flask_gateway.config.options import OPTIONS, PER_UPSTREAM, SERVER, Option

ROOT = Path(__file__).parents[2]


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


def test_gunicorn_conf_reads_every_server_setting_and_writes_no_default() -> None:
    lines = (ROOT / "flask_gateway/server/gunicorn_settings.py").read_text().splitlines()
    for option in SERVER:
        (line,) = [line for line in lines if f'"{option.variable}"' in line]
        assert option.default is None or f'"{option.variable}", server_defaults.' in line, line


def test_the_example_is_valid(tmp_path: Path) -> None:
    text = (ROOT / "flask_gateway" / "deploy" / "gateway.example.toml").read_text()
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
