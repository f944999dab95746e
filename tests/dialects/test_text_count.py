"""Tests the counts of characters in JSON bytes: they equal those of the decoded text."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_gateway.dialects.text_count import (
    count_characters,
    count_values,
    count_whole_numbers,
    count_wide,
    has_only_numbers,
)

TEXTS = [
    "",
    "plain",
    "naïve Ωж",
    "你好 wörld",
    "한국어",
    "日本語かな",
    "🙂🙂",
    'quote " and \\ slash',
    "tab\tend\n",
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_characters_are_those_of_the_decoded_text(text: str, ascii_only: bool) -> None:
    raw = json.dumps(text, ensure_ascii=ascii_only).encode()[1:-1]
    assert count_characters(raw) == (len(text), count_wide(text))


@given(st.text(st.characters(codec="utf-8", exclude_characters='"\\'), max_size=50))
def test_no_text_is_counted_wrongly_in_utf_8(text: str) -> None:
    raw = json.dumps(text, ensure_ascii=False).encode()[1:-1]
    if b"\\" not in raw:
        assert count_characters(raw)[0] == len(text)
    assert 0 <= count_wide(text) <= len(text)


@pytest.mark.parametrize("text", ["你好", "한", "\uff46\uff55\uff4c", "🙂", "々"])
def test_scripts_without_an_alphabet_are_wide(text: str) -> None:
    assert count_wide(text) == len(text)
    assert all(unicodedata.east_asian_width(character) in "WF" for character in text)


@pytest.mark.parametrize("text", ["abc", "äöü", "жук", "שלום", "—"])
def test_alphabets_are_not_wide(text: str) -> None:
    assert count_wide(text) == 0


@pytest.mark.parametrize(
    ("values", "numbers", "at_most"),
    [(b"[]", 0, 1), (b"[1]", 1, 1), (b"[1, 2,3]", 3, 3), (b"[[1,2],[3]]", 3, 3), (b"[1.5, 2]", 1, 2)],
)
def test_numbers_in_a_list(values: bytes, numbers: int, at_most: int) -> None:
    assert has_only_numbers(values)
    assert count_whole_numbers(values) == numbers
    assert count_values(values) >= at_most


def test_texts_and_objects_are_no_numbers() -> None:
    assert not has_only_numbers(b'["a"]')
    assert not has_only_numbers(b"[[{}]]")
    assert count_values(b'["a,b,c", "d"]') == 2
