"""Tests the tables of plugins: what is read, refused and shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from flask_gateway.config.describe import describe
from flask_gateway.config.errors import ConfigError
from flask_gateway.config.load import Resolved, resolve
from flask_gateway.config.schema import PluginSettings, Secret

HEAD = "[plugins.pii]\n"


def loaded(folder: Path, text: str, **environ: str) -> Resolved:
    path = folder / "gateway.toml"
    path.write_text(text)
    return resolve({"GATEWAY_CONFIG": str(path), **environ})


def test_without_a_table_there_are_no_plugins(tmp_path: Path) -> None:
    resolved = loaded(tmp_path, "")
    assert resolved.settings.plugins == ()
    assert not any("plugins" in line for line in describe(resolved))


def test_a_table_is_read_and_shown_without_the_values_of_options(tmp_path: Path) -> None:
    text = (
        HEAD + 'use = "my_company.pii:Plugin"\nmodels = ["fast", "smart*"]\n'
        'keys = ["web"]\non_error = "pass"\n'
        'budget_ms = 20\noptions = { entities = ["EMAIL"], token_env = "PII_TOKEN" }\n'
        '[plugins.b]\nuse = "b"\n'
    )
    resolved = loaded(tmp_path, text, PII_TOKEN="very-secret")
    assert resolved.settings.plugins == (
        PluginSettings(
            name="pii",
            use="my_company.pii:Plugin",
            models=frozenset({"fast", "smart*"}),
            keys=frozenset({"web"}),
            on_error="pass",
            budget_ms=20.0,
            options={"entities": ["EMAIL"]},
            secrets={"token": Secret("very-secret")},
        ),
        PluginSettings(name="b", use="b"),
    )
    lines = [line for line in describe(resolved) if line.startswith("plugins.")]
    assert lines == [
        "plugins.pii = my_company.pii:Plugin, models fast and smart*, keys web, on error pass, budget 20 ms, "
        "options entities, token  (from file)",
        "plugins.b = b  (from file)",
    ]


@pytest.mark.parametrize(
    ("text", "setting", "expected"),
    [
        ("", "plugins.pii.use", "it is missing"),
        ('use = "a b"\n', "plugins.pii.use", "module:name"),
        ('use = "a:b"\non_error = "ignore"\n', "plugins.pii.on_error", "refuse or pass"),
        ('use = "a:b"\nbudget_ms = 0\n', "plugins.pii.budget_ms", "milliseconds"),
        ('use = "a:b"\nmodels = []\n', "plugins.pii.models", "one or more"),
        ('use = "a:b"\noptions = { a-b = 1 }\n', "plugins.pii.options", "one word"),
        ('use = "a:b"\noptions = { day = 2026-01-01 }\n', "plugins.pii.options", "write a date as text"),
        ('use = "a:b"\noptions = { a = 1, a_env = "A" }\n', "plugins.pii.options", "are one"),
        ('use = "a:b"\noptions = { a_env = "NOT_SET" }\n', "plugins.pii.options.a_env", "that is set"),
        ('use = "a:b"\nmodel = "x"\n', "plugins.pii.model", "did you mean models?"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, setting: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, HEAD + text)
    assert setting in str(caught.value)
    assert expected in str(caught.value)


def test_the_variable_of_an_option_is_a_known_one(tmp_path: Path) -> None:
    text = HEAD + 'use = "a:b"\noptions = { token_env = "GATEWAY_MY_TOKEN" }\n'
    (plugin,) = loaded(tmp_path, text, GATEWAY_MY_TOKEN="secret-1").settings.plugins
    assert plugin.secrets == {"token": Secret("secret-1")}
