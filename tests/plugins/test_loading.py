"""Tests how plugins are found and made, and that what is wrong is one line."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.metadata import EntryPoint
from typing import Any

import pytest
from kit.plugins import Admitting, Closing, Counts, Login, loaded, plugin

from flask_gateway.config.errors import ConfigError
from flask_gateway.config.schema import Secret
from flask_gateway.model.call import Operation
from flask_gateway.plugins import loading
from flask_gateway.plugins.hooks import Hook
from flask_gateway.plugins.loading import load


def refused(use: str, **changes: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load(plugin(use, **changes), Counts())
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith("plugins.p")
    return line


def test_options_are_arguments_of_the_constructor() -> None:
    made = loaded("Login", options={"a": [1]}, secrets={"b": Secret("s")})
    assert isinstance(made.instance, Login)
    assert made.instance.options == {"a": [1], "b": "s"}
    assert made.hooks == {Hook.IDENTIFY}


def test_a_function_may_make_the_plugin() -> None:
    assert isinstance(loaded("kit.plugins:made_by_function").instance, Admitting)
    assert "TypeError" in refused("kit.plugins:Counts", options={"unknown": 1})


@pytest.mark.parametrize(
    ("use", "words"),
    [
        ("kit.nothing:Plugin", "set PYTHONPATH to its folder"),
        ("kit.plugins:Nothing", "AttributeError"),
        ("kit.plugins:TOKEN", "a class, or a function"),
        ("no-such-plugin", "write module:name"),
        ("Versioned", "version 1 of the interface, not 2"),
        ("Hookless", "it has none of identify"),
        ("kit.plugins:unmade", "ValueError: no such option"),
    ],
)
def test_another_thing_is_refused_in_one_line(use: str, words: str) -> None:
    assert words in refused(use)


def test_a_constructor_that_repeats_a_secret_shows_its_type_alone() -> None:
    line = refused("kit.plugins:unmade", secrets={"token": Secret("very-secret")})
    assert "very-secret" not in line
    assert "(ValueError)" in line


def test_an_observer_cannot_refuse() -> None:
    assert "plugins.p.on_error" in refused("Watching", on_error="refuse")


def test_a_plugin_that_is_refused_is_closed() -> None:
    Closing.made.clear()
    refused("Versioned")
    assert [one.closed for one in Closing.made] == [1]


def test_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    offered = [EntryPoint("ours", "kit.plugins:Admitting", loading.GROUP)]

    def entry_points(group: str) -> Iterable[EntryPoint]:
        return offered if group == loading.GROUP else ()

    monkeypatch.setattr(loading, "entry_points", entry_points)
    assert isinstance(loaded("ours").instance, Admitting)
    assert "did you mean ours?" in refused("our")
    offered.append(EntryPoint("ours", "kit.plugins:Login", loading.GROUP))
    assert "a name that one package has" in refused("ours")


class Inspecting:
    def __init__(self, operations: object) -> None:
        self.operations = operations

    def open(self, call: object) -> None:
        """Inspect nothing."""


def test_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loaded("Admitting").operations == set(Operation)
    monkeypatch.setattr("kit.plugins.Inspecting", Inspecting, raising=False)
    assert loaded("Inspecting", options={"operations": None}).operations == loading.TEXT
    assert loaded("Inspecting", options={"operations": ["embeddings"]}).operations == {Operation.EMBEDDING}
    assert "are not: raw" in refused("Inspecting", options={"operations": ["raw"]})
    assert "flask_gateway.plugin.Operation" in refused("Inspecting", options={"operations": ["CHAT"]})
    assert "flask_gateway.plugin.Operation" in refused("Inspecting", options={"operations": 1})


def test_the_shipped_plugin_names_its_option_and_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    line = refused("jwt", options={"issuer": "https://login.example", "algorithms": ["none"]})
    assert line.startswith("plugins.p.options.algorithms=")
    monkeypatch.setitem(sys.modules, "jwt", None)
    for name in [name for name in sys.modules if name.startswith("flask_gateway.jwt_auth")]:
        monkeypatch.delitem(sys.modules, name)
    assert "pip install '.[jwt]'" in refused("jwt")
