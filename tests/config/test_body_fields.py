"""Tests the fields that settings write into request bodies: what JSON can say, and what others decide on."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from flask_gateway.config.body_fields import BODY_FIELDS, MOST_BYTES
from flask_gateway.config.errors import InvalidValue


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("high", None),
        ([], None),
        ({"model": "x"}, "model is not allowed there: the candidate's model"),
        ({"stream": True}, "the caller decides"),
        ({"api_key": "sk-1"}, "belong to the upstream"),
        ({"when": date(2026, 1, 1)}, "see when: JSON has no such value"),
        ({"deep": {"list": [1, float("inf")]}}, "see deep"),
        ({"nan": float("nan")}, "see nan"),
        ({"long": "x" * MOST_BYTES}, "or it is too long"),
    ],
)
def test_a_field_that_is_refused(value: Any, hint: str | None) -> None:
    with pytest.raises(InvalidValue) as caught:
        BODY_FIELDS.check(value)
    assert "a table of fields of the body" in caught.value.expected
    assert (caught.value.hint is None) if hint is None else hint in str(caught.value.hint)


def test_fields_become_their_json_text() -> None:
    fields = BODY_FIELDS.check({"reasoning_effort": "high", "stop": ["a", 1, 0.5, True], "x": {"y": "é"}})
    assert fields == {
        "reasoning_effort": b'"high"',
        "stop": b'["a",1,0.5,true]',
        "x": '{"y":"é"}'.encode(),
    }
    assert BODY_FIELDS.check({}) == {}
