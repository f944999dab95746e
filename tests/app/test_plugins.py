"""Tests what a gateway's settings make of plugins: when they are made, kept and closed; free when off."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import msgspec
import pytest
from kit.calls import make_call, make_settings
from kit.plugins import Closing, plugin
from kit.waiting import until

from flask_gateway.app.build import Gateway, build, rebuild
from flask_gateway.app.plugins import retire
from flask_gateway.config.errors import ConfigError
from flask_gateway.state.memory import MemoryStore

OFF = (
    "import sys; from flask_gateway import create_app; app = create_app();"
    "client = app.test_client();"
    "body = {'model': 'mock', 'messages': [{'role': 'user', 'content': 'x'}]};"
    "key = {'X-API-Key': 'dev-key'};"
    "assert client.post('/v1/chat/completions', json=body, headers=key).status_code == 200;"
    "off = ('flask_gateway.plugin', 'flask_gateway.app.plugins', 'flask_gateway.jwt_auth', 'jwt');"
    "print([name for name in sys.modules if name.startswith(off)])"
)


def test_without_plugins_nothing_of_them_is_imported() -> None:
    done = subprocess.run([sys.executable, "-c", OFF], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_without_plugins_a_call_has_no_notes(store: MemoryStore) -> None:
    made = build(make_settings(), store)
    assert made.plugins is None
    assert made.service._begin is None


def instances(made: Gateway) -> list[Any]:
    assert made.plugins is not None
    return [one.instance for one in made.plugins.loaded]


def test_a_reload_keeps_a_plugin_whose_table_is_the_same(store: MemoryStore) -> None:
    tables = (plugin("Admitting", "a"), plugin("Admitting", "b"), plugin("Slots", "c"))
    before = build(make_settings(plugins=tables), store)
    changed = (tables[0], plugin("Admitting", "b", options={"x": 1}))
    after = rebuild(msgspec.structs.replace(before.settings, plugins=changed), before)
    assert instances(after)[0] is instances(before)[0]
    assert instances(after)[1] is not instances(before)[1]
    assert before.plugins is not None
    reply = before.service.send(make_call("mock"))
    retire(before.plugins, after.plugins, grace=0.0)
    until(lambda: before.plugins is not None and before.plugins.loaded[1]._retired)
    assert [one.closed for one in instances(before)] == [0, 0, 0], "a call uses them"
    list(reply)
    until(lambda: [one.closed for one in instances(before)] == [0, 1, 1])


def test_a_plugin_that_cannot_be_made_refuses_and_leaves_none_behind(store: MemoryStore) -> None:
    before = build(make_settings(plugins=(plugin("Admitting", "a"),)), store)
    Closing.made.clear()
    broken = (plugin("Admitting", "a"), plugin("Slots", "b"), plugin("kit.plugins:unmade", "c"))
    with pytest.raises(ConfigError, match=r"plugins\.c"):
        rebuild(msgspec.structs.replace(before.settings, plugins=broken), before)
    assert [one.closed for one in Closing.made] == [1]
    assert instances(before)[0].closed == 0
