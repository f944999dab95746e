"""Tests the text of a custom tool while its JSON comes in pieces."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.examples import examples

from flask_gateway.dialects.translations.responses_to_chat.custom_input import CustomInput

TEXTS = st.text(alphabet=st.sampled_from('ab"\\/\n\té😀\x00{}:'), max_size=30)


def pieces_of(arguments: str, cuts: list[int]) -> list[str]:
    places = sorted({0, len(arguments), *(cut % (len(arguments) + 1) for cut in cuts)})
    return [arguments[start:end] for start, end in itertools.pairwise(places)]


def unpacked(pieces: list[str]) -> str:
    reader = CustomInput()
    texts = [reader.feed(piece) for piece in pieces]
    texts.append(reader.end())
    assert "".join(texts) == reader.text
    return reader.text


@settings(max_examples=examples(30, 2000))
@given(TEXTS, st.booleans(), st.lists(st.integers(0, 200), max_size=8))
def test_pieces_give_the_text(text, escaped, cuts):
    arguments = json.dumps({"input": text}, ensure_ascii=escaped)
    assert unpacked(pieces_of(arguments, cuts)) == text


def test_text_comes_before_the_end():
    reader = CustomInput()
    assert [reader.feed(piece) for piece in (' { "input" :', ' "a', "b\\", "n", '" }')] == [
        "",
        "a",
        "b",
        "\n",
        "",
    ]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("*** Begin Patch", "*** Begin Patch"),
        ('{"patch": "x"}', "x"),
        ('{"input": "x", "more": 1}', "x"),
        ('{"more": 1, "input": "x"}', "x"),
        ('{"a": "x", "b": "y"}', '{"a": "x", "b": "y"}'),
        ('{"input": 7}', '{"input": 7}'),
        ("[1]", "[1]"),
        ("", ""),
        ('{"input": "line\nline"}', "line\nline"),
        ('{"input": "half', "half"),
        (r'{"input": "\ud83d"}', "\ufffd"),
        (r'{"input": "\d+ \\d \u12 \x"}', r"\d+ \d \u12 \x"),
        (r'{"input": "\'"}', r"\'"),
        ("{" + 200 * " " + '"input": "x"}', "x"),
    ],
)
def test_other_arguments(arguments, text):
    assert unpacked([arguments]) == text
    assert unpacked(list(arguments)) == text
