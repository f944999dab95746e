"""Tests the command that prints a key: a list of words for no shell, and never shown."""

from __future__ import annotations

from typing import Any

import pytest

from flask_gateway.config.errors import InvalidValue
from flask_gateway.config.key_command_syntax import LONGEST_WORD, MOST_WORDS, CommandWords, is_missing
from flask_gateway.config.schema import MASK

WORDS = CommandWords("a command as a list of words")


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("gcloud auth print-access-token", "no shell reads it"),
        ([], None),
        (["a"] * (MOST_WORDS + 1), None),
        (["a", 5], None),
        (["a", "b\0"], None),
        (["a", "b" * (LONGEST_WORD + 1)], None),
        ([" ", "b"], "the first word is the program"),
        (["a\nb"], "the first word is the program"),
    ],
)
def test_a_command_that_is_refused_is_not_shown(value: Any, hint: str | None) -> None:
    with pytest.raises(InvalidValue) as caught:
        WORDS.check(value)
    assert hint is None or hint in str(caught.value.hint)
    assert WORDS.show(value) == MASK


def test_words_may_have_blanks_and_line_ends() -> None:
    assert WORDS.check(["program", "-c", "a b\nc"]) == ("program", "-c", "a b\nc")


def test_a_program_is_found_by_its_name_or_its_path() -> None:
    assert not is_missing("sh")
    assert not is_missing("/bin/sh")
    assert is_missing("no-such-program-of-a-test")
