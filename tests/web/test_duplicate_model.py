"""Tests that a body with two models is found: some upstreams would take the one that nobody checked."""

from __future__ import annotations

import msgspec
import pytest

from flask_gateway.web import duplicate_model
from flask_gateway.web.duplicate_model import LONG

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def names_model_twice(body: bytes) -> bool:
    return duplicate_model.names_model_twice(body, _fields(body))


def long(body: bytes) -> bytes:
    """The body with one long field more."""
    return b'{"long":"%b",' % (b"x" * LONG) + body[1:]


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","model":"b"}',
        b'{"model" : "a", "x": [{}], "model"\n:"b"}',
        b'{"model":"a","mod\\u0065l":"b"}',
        b'{"\\u006d\\u006f\\u0064\\u0065\\u006c":"a","model":"b"}',
        b'{"model":{"model":"x"},"y":"\\"","model":"b"}',
    ],
)
def test_a_second_model_is_found(body: bytes) -> None:
    assert names_model_twice(body)
    assert names_model_twice(long(body))


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"model":"a"}',
        b'{"model":"model"}',
        b'{"model":"a","x":{"model":"b","model":"c"}}',
        b'{"model":"a","x":["model"]}',
        b'{"model":"a","x":"\\"model\\":"}',
        b'{"model":"a","models":"b","MODEL":"c"}',
        b'{"x":"\\u0061","model":"a"}',
    ],
)
def test_one_model_is_one(body: bytes) -> None:
    assert not names_model_twice(body)
    if body != b"{}":
        assert not names_model_twice(long(body))


@pytest.mark.parametrize("again", [b'"model":0,', b'"mod\\u0065l":0,', b'"model" : "b" , '])
def test_the_shortest_second_model_of_a_long_body_is_found(again: bytes) -> None:
    compact = long(b'{"n":1,"model":"a"}')
    assert not names_model_twice(compact)
    assert names_model_twice(b"{" + again + compact[1:])


def test_a_long_body_without_room_for_a_second_model_is_not_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicate_model, "_may_repeat", None)
    assert not names_model_twice(long(b'{"model": "a", "stream": true}'))
