"""Tests plugins that are observers: which records they see, and that their failures change nothing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from kit.calls import make_call, make_settings
from kit.plugins import plugin

from flask_gateway.app.build import Gateway, build
from flask_gateway.model.call import Caller
from flask_gateway.state.memory import MemoryStore


def gateway(store: MemoryStore, **changes: Any) -> Gateway:
    return build(make_settings(plugins=(plugin("Watching", "w", **changes),)), store)


def seen(made: Gateway) -> list[Any]:
    assert made.plugins is not None
    return [(one.model, one.key, one.plugins) for one in made.plugins.loaded[0].instance.records]


def test_it_sees_the_records_that_it_is_for(store: MemoryStore) -> None:
    made = gateway(store, models=frozenset({"mock"}), keys=frozenset({"team-*"}))
    call = make_call("mock")
    list(made.service.send(call))
    list(made.service.send(make_call("mock/other")))
    list(made.service.send(msgspec.structs.replace(call, caller=Caller("other", 0))))
    assert seen(made) == [("mock", "team-a", "")]


@pytest.mark.parametrize("fails", [False, True])
def test_its_failure_changes_nothing(store: MemoryStore, fails: bool) -> None:
    made = gateway(store, options={"fails": fails})
    assert b"".join(made.service.send(make_call("mock")))
    assert len(seen(made)) == 1
