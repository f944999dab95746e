"""Tests how inspected texts take the place of others."""

from __future__ import annotations

from typing import Any

import pytest
from kit.plugins import Counts, inspections, plugin

from flask_gateway.model.errors import PluginFailed
from flask_gateway.plugins.loaded import Loaded
from flask_gateway.plugins.loading import load
from flask_gateway.plugins.texts import Swaps, number, objects


class Spoiling:
    """An inspector whose texts are no JSON."""

    hold = 0

    def open(self, call: object) -> Any:
        return self

    def text(self, channel: str, delta: str) -> str:
        return "{"

    def end(self, channel: str) -> str:
        return ""


def spoiling(on_error: str) -> Loaded:
    return load(plugin("Spoiling", on_error=on_error), Counts(), Spoiling)


def test_arguments_stay_an_object() -> None:
    swaps, holder = Swaps(inspections()), {"input": {"a": ["AAAAA", 1]}}
    swaps.arguments(holder, "input", "block 0 arguments")
    assert holder == {"input": {"a": ["[x]", 1]}}
    assert swaps.changed


def test_arguments_that_are_spoilt_refuse_or_pass() -> None:
    holder = {"input": {"a": 1}}
    with pytest.raises(PluginFailed):
        Swaps(inspections(spoiling("refuse"))).arguments(holder, "input", "c")
    Swaps(inspections(spoiling("pass"))).arguments(holder, "input", "c")
    assert holder == {"input": {"a": 1}}


def test_odd_values_are_left_alone() -> None:
    swaps = Swaps(inspections())
    for value in (None, "", 7, [], {}):
        holder: dict[str, Any] = {"x": value}
        assert not swaps.delta(holder, "x", "c")
        swaps.whole(holder, "x", "c")
        swaps.arguments(holder, "x", "c")
        swaps.hide(holder, "y")
        assert holder == {"x": value}
    assert not swaps.changed
    assert objects([1, {}, None]) == [{}]
    assert objects("x") == []
    assert (number(3), number(True), number(None, 2)) == (3, 0, 2)
