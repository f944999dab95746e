"""Tests that a body with two models is found: some upstreams would take the one that nobody checked."""

from __future__ import annotations

import pytest

from flask_gateway.web.duplicate_model import names_model_twice


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
