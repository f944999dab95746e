"""Holds the tables of fields to the official SDK's types: a new field of the API fails a test here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from kit.sdks import openai

from flask_gateway.dialects.translations.responses_to_chat import fields


def variants(union: Any) -> Iterator[Any]:
    """The members of a union, however nested."""
    if get_origin(union) is Union:
        for member in get_args(union):
            yield from variants(member)
    else:
        yield union


def types_of(union: Any) -> set[str]:
    """The values of ``type`` in the members of a union of typed dictionaries."""
    found: set[str] = set()
    for member in variants(union):
        found |= set(literals(get_type_hints(member)["type"]))
    return found


def literals(hint: Any) -> Iterator[str]:
    for inner in get_args(hint):
        if isinstance(inner, str):
            yield inner
        elif inner is not type(None):
            yield from literals(inner)


def test_each_field_of_a_request_is_in_one_table():
    kinds = openai.types.responses.response_create_params
    names = set(get_type_hints(kinds.ResponseCreateParamsStreaming))
    tables = [set(fields.MAPPED), set(fields.WITHOUT_EFFECT), set(fields.REFUSED)]
    assert names - set.union(*tables) == set()
    assert sum(map(len, tables)) == len(set.union(*tables))


def test_each_item_of_an_input_is_known():
    known = set(fields.MAPPED_ITEMS) | fields.REFUSED_ITEMS
    assert types_of(openai.types.responses.ResponseInputItemParam) - known == set()


def test_each_tool_is_known():
    known = set(fields.MAPPED_TOOLS) | fields.LEFT_OUT_TOOLS
    assert types_of(openai.types.responses.ToolParam) - known == set()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("response_input_message_content_list_param", "ResponseInputContentParam"),
        ("response_output_message_param", "Content"),
    ],
)
def test_each_part_of_a_content_is_known(module: str, name: str):
    union = getattr(getattr(openai.types.responses, module), name)
    assert types_of(union) - set(fields.MAPPED_PARTS) - fields.REFUSED_PARTS == set()


def test_state_is_among_what_is_refused():
    assert set(fields.REFUSED) >= fields.STATE
    assert fields.REFUSED_ITEMS >= fields.STORED_ITEMS
    assert "reasoning.encrypted_content" in get_args(openai.types.responses.ResponseIncludable)


def test_the_documentation_has_the_tables():
    documented = (Path(__file__).parents[4] / "docs/dialects.md").read_text()
    assert "\n".join(fields.tables()) in documented
    for name in {*fields.MAPPED, *fields.WITHOUT_EFFECT, *fields.REFUSED, *fields.PASSED}:
        assert f"`{name}`" in documented
