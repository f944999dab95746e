"""Tests the quirks of an upstream in the file: each field has a place, and what is left out is its kind's."""

from __future__ import annotations

import pytest

from flask_gateway.config.errors import InvalidValue
from flask_gateway.config.file_quirks import QUIRKS, quirks_of
from flask_gateway.config.kinds import KINDS
from flask_gateway.model.quirks import Quirks, Unsupported

OF_KIND = KINDS["openai"].quirks


def test_each_field_is_one_of_the_quirks() -> None:
    assert QUIRKS.keys() <= set(Quirks.__struct_fields__)


def test_without_fields_the_quirks_are_those_of_the_kind() -> None:
    assert quirks_of({}, OF_KIND) is None


def test_a_field_replaces_that_of_the_kind_and_no_other() -> None:
    own = quirks_of({"unsupported": "drop", "max_output_tokens": 7}, OF_KIND)
    assert own is not None
    assert own.unsupported is Unsupported.DROP
    assert own.max_output_tokens == 7
    assert own.system_role == OF_KIND.system_role


@pytest.mark.parametrize(
    ("name", "value"), [("unsupported", "ignore"), ("top_k", 1), ("max_output_tokens", 0)]
)
def test_a_value_that_none_has_is_refused(name: str, value: object) -> None:
    with pytest.raises(InvalidValue):
        QUIRKS[name].check(value)
