"""Tests what tells two answers apart, and what does not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from kit.calls import make_call

from flask_gateway.cache.keys import IGNORED, key_of, owner_of
from flask_gateway.config.cache_settings import CacheShare
from flask_gateway.model.call import Call, Caller, Operation

ROUTE = b"r" * 32
BODY = b'{"model":"m","messages":[{"role":"user","content":"Hi"}],"temperature":0}'


def of(body: bytes = BODY, owner: str = "key:a", route: bytes = ROUTE, **changes: Any) -> bytes:
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    call: Call = msgspec.structs.replace(make_call("m"), fields=fields, **changes)
    return key_of(call, owner, route, IGNORED)


def test_the_same_bytes_have_the_same_key() -> None:
    assert of() == of()
    assert len(of()) == 32


@pytest.mark.parametrize(
    "body",
    [
        b'{"temperature":0,"messages":[{"role":"user","content":"Hi"}],"model":"m"}',  # another order
        b'{"model":"m","messages":[{"role":"user","content":"Hi"}], "temperature" : 0}',  # blanks between
        b'{"model":"other-name","messages":[{"role":"user","content":"Hi"}],"temperature":0}',  # in the route
        BODY[:-1] + b',"user":"u","metadata":{"a":"b"},"safety_identifier":"s","prompt_cache_key":"p"}',
    ],
)
def test_bodies_that_an_upstream_cannot_tell_apart_share_a_key(body: bytes) -> None:
    assert of(body) == of()


@pytest.mark.parametrize(
    "body",
    [
        BODY[:-1] + b',"top_p":1}',
        BODY.replace(b'"content":"Hi"', b'"content": "Hi"'),  # a blank more in a value
        BODY.replace(b'"temperature":0', b'"temperature":0.0'),
        BODY.replace(b'"content":"Hi"', b'"content":"Hi","content":"Hi"'),  # a doubled name in a value
        BODY.replace(b"Hi", b"Hi "),
        b'{"model":"m","messages":[{"role":"user","content":"Hi"}],"temperatur":0}',
    ],
)
def test_any_other_difference_is_another_key(body: bytes) -> None:
    assert of(body) != of()


@pytest.mark.parametrize(
    "changes",
    [
        {"owner": "key:b"},
        {"owner": "team:a"},
        {"route": b"s" * 32},
        {"stream": True},
        {"operation": Operation.RESPONSE},
        {"fallbacks": ("x",)},
        {"fallbacks": ()},
        {"query": "beta=true"},
        {"headers": {"anthropic-beta": "x"}},
    ],
)
def test_the_parts_outside_the_body_count_too(changes: dict[str, Any]) -> None:
    assert of(**changes) != of()


def test_parts_cannot_run_into_each_other() -> None:
    assert of(b'{"a":1,"b":23}') != of(b'{"a":12,"b":3}')
    assert of(headers={"a": "b"}) != of(query="ab")


def test_a_listed_field_tells_answers_apart() -> None:
    fields = msgspec.json.decode(BODY[:-1] + b',"user":"u"}', type=dict[str, msgspec.Raw])
    named = msgspec.structs.replace(make_call("m"), fields=fields)
    assert key_of(named, "key:a", ROUTE, IGNORED) == of()
    assert key_of(named, "key:a", ROUTE, IGNORED - {"user"}) != of()


def test_owners() -> None:
    alone, member = Caller("a", 0), Caller("a", 0, team="t")
    assert owner_of(alone, CacheShare.KEY) == owner_of(member, CacheShare.KEY) == "key:a"
    assert owner_of(alone, CacheShare.TEAM) == "key:a"
    assert owner_of(member, CacheShare.TEAM) == "team:t"
    assert owner_of(alone, CacheShare.ALL) == owner_of(Caller("b", 0), CacheShare.ALL) == "all"
