"""Tests the plugins of a gateway together: their order, and that each call leaves them."""

from __future__ import annotations

from typing import Any

import pytest
from kit.calls import make_call, make_settings
from kit.plugins import plugin

from flask_gateway.app.build import Gateway, build
from flask_gateway.model.errors import Overloaded
from flask_gateway.state.memory import MemoryStore


def gateway(store: MemoryStore, *uses: tuple[str, dict[str, Any]]) -> Gateway:
    tables = tuple(plugin(use, f"p{number}", options=options) for number, (use, options) in enumerate(uses))
    return build(make_settings(plugins=tables), store)


def uses(made: Gateway) -> list[int]:
    assert made.plugins is not None
    return [one._uses for one in made.plugins.loaded]


def test_they_are_in_use_while_a_call_lasts(store: MemoryStore) -> None:
    made = gateway(store, ("Slots", {}), ("Admitting", {}), ("Watching", {}))
    reply = made.service.send(make_call("mock"))
    assert uses(made) == [1, 1, 0]
    list(reply)
    assert uses(made) == [0, 0, 0]
    full = gateway(store, ("Slots", {"slots": 0}))
    with pytest.raises(Overloaded):
        full.service.send(make_call("mock"))
    assert uses(full) == [0]


def test_a_plugin_that_was_closed_refuses_and_is_left(store: MemoryStore) -> None:
    made = gateway(store, ("Slots", {}), ("Admitting", {}))
    assert made.plugins is not None
    made.plugins.loaded[1].retire()
    with pytest.raises(Overloaded):
        made.service.send(make_call("mock"))
    assert uses(made) == [0, 0]


def test_the_record_says_what_they_did(store: MemoryStore) -> None:
    made = gateway(store, ("Slots", {}), ("Admitting", {}), ("Watching", {}))
    list(made.service.send(make_call("mock")))
    assert made.plugins is not None
    (record,) = made.plugins.loaded[2].instance.records
    assert record.plugins == "p0=admitted, p1=admitted"
