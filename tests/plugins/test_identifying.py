"""Tests authenticators: whom they know, what the settings add, and what happens when they fail."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from kit.calls import chat, make_settings
from kit.plugins import OLD_TOKEN, TOKEN, Counts, plugin

from flask_gateway import create_app
from flask_gateway.config.errors import ConfigError
from flask_gateway.config.schema import Settings
from flask_gateway.model.call import Caller
from flask_gateway.model.limits import NO_OWNER_LIMITS, Limits, OwnerLimits, Owners
from flask_gateway.plugins.identifying import PluginCallers, limited
from flask_gateway.plugins.loading import load
from flask_gateway.state.memory import MemoryStore

TEAM = OwnerLimits(own=Limits(requests=5), content=False, request_tags=("cost",))


def asked(settings: Settings, store: MemoryStore, key: str, **headers: str) -> Any:
    client = create_app(settings, store).test_client()
    return client.post("/v1/chat/completions", json=chat("mock"), headers={"X-API-Key": key, **headers})


def settings(**changes: Any) -> Settings:
    return make_settings(plugins=(plugin("Login", "login", **changes),))


def test_a_caller_of_a_plugin_is_served(store: MemoryStore) -> None:
    answer = asked(settings(), store, TOKEN)
    assert answer.status_code == 200
    assert answer.headers["x-ratelimit-limit-requests"] == "60", "the general limit"


@pytest.mark.parametrize(
    ("key", "code", "words"),
    [
        (OLD_TOKEN, "invalid_api_key", "Log in again"),
        ("unknown", "invalid_api_key", "not known here"),
        ("broken", "plugin_failed", "your request is not at fault"),
        ("nonsense", "plugin_failed", "your request is not at fault"),
    ],
)
def test_others_are_refused(store: MemoryStore, key: str, code: str, words: str) -> None:
    answer = asked(settings(), store, key)
    assert answer.json["error"]["code"] == code
    assert words in answer.json["error"]["message"]


@pytest.mark.parametrize("key", ["broken", "nonsense"])
def test_with_pass_a_failure_leaves_the_key_unknown(store: MemoryStore, key: str) -> None:
    assert asked(settings(on_error="pass"), store, key).json["error"]["code"] == "invalid_api_key"


def test_a_key_of_the_gateway_asks_no_plugin(store: MemoryStore) -> None:
    known = msgspec.structs.replace(settings(), keys=make_settings().keys)
    assert asked(known, store, "other-key").status_code == 200


def test_wrong_keys_are_counted(store: MemoryStore) -> None:
    few = msgspec.structs.replace(settings(), failed_keys_per_minute=2)
    client = create_app(few, store).test_client()
    answers = [client.get("/v1/models", headers={"X-API-Key": key}) for key in ("a", OLD_TOKEN, "b", TOKEN)]
    assert [answer.status_code for answer in answers] == [401, 401, 429, 200]


def test_the_settings_add_limits() -> None:
    general = OwnerLimits(own=Limits(tokens=9))
    made = msgspec.structs.replace(settings(), teams={"red": TEAM}, limits=general, max_concurrent_per_key=3)
    caller = limited(Caller("login:ann", -1, team="red", max_concurrent=-1), made)
    assert (caller.rate_limit, caller.max_concurrent, caller.content) == (60, 3, False)
    assert caller.owners == Owners("login:ann", NO_OWNER_LIMITS, "red", TEAM, general)
    assert caller.request_tags == {"cost"}


def test_a_plugin_sets_the_limits_of_its_caller_and_no_others() -> None:
    own = OwnerLimits(own=Limits(requests=1))
    owners = Owners("x", own, "blue", OwnerLimits(own=Limits(requests=99)), OwnerLimits())
    made = msgspec.structs.replace(settings(), teams={"red": TEAM})
    caller = limited(Caller("login:ann", 7, team="red", owners=owners, max_concurrent=1), made)
    assert (caller.rate_limit, caller.max_concurrent) == (7, 1)
    assert caller.owners == Owners("login:ann", own, "red", TEAM, NO_OWNER_LIMITS)
    assert limited(Caller("login:ann", 7), settings()).owners is None


def test_an_unknown_team_refuses_the_start(store: MemoryStore) -> None:
    login = msgspec.structs.replace(
        settings(), plugins=(plugin("TeamLogin", "login", options={"teams": ["red", "green"]}),)
    )
    with pytest.raises(ConfigError, match=r"plugins.login='green': expected a team of the settings"):
        create_app(msgspec.structs.replace(login, teams={"red": TEAM}), store)
    known = msgspec.structs.replace(login, teams={"red": TEAM, "green": TEAM})
    assert asked(known, store, TOKEN).status_code == 200


def test_a_caller_that_a_plugin_remembers_has_one_object_of_limits() -> None:
    loaded = load(plugin("TeamLogin", "login", options={"teams": []}), Counts())
    callers = PluginCallers(
        [loaded], msgspec.structs.replace(settings(), limits=OwnerLimits(own=Limits(tokens=9)))
    )
    first = callers(TOKEN, {}.get)
    assert first is not None
    assert first.owners is not None
    assert callers(TOKEN, {}.get) is first
    for _ in range(3):
        loaded.instance.renew()
        assert callers(TOKEN, {}.get) == first
