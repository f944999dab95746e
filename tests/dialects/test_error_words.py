"""Tests the lists of codes and phrases: none has two meanings, none matches any message at all."""

from __future__ import annotations

import re

import pytest

from flask_gateway.dialects import error_words as words

PHRASES = {
    name: value for name, value in vars(words).items() if isinstance(value, re.Pattern) and name.isupper()
}
CODES = {name: value for name, value in vars(words).items() if isinstance(value, frozenset)}


def test_the_lists_are_found() -> None:
    assert len(PHRASES) > 10
    assert len(CODES) > 10


@pytest.mark.parametrize("name", CODES)
def test_codes_are_in_lower_case_and_of_one_meaning(name: str) -> None:
    codes = CODES[name]
    assert all(code == code.lower() for code in codes)
    for other, others in CODES.items():
        assert other == name or not codes & others, f"{name} and {other}"


@pytest.mark.parametrize("name", PHRASES)
@pytest.mark.parametrize("message", ["", "Hello.", "Field required", "x" * 400])
def test_no_phrase_matches_a_message_that_says_nothing(name: str, message: str) -> None:
    assert PHRASES[name].fullmatch(message) is None or not message


@pytest.mark.parametrize(
    ("phrase", "message"),
    [
        (words.TOO_LONG, "This model's maximum context length is 8192 tokens."),
        (words.FLAGGED, "Your input was flagged by the moderation."),
        (words.CREDIT, "Your credit balance is too low to access the API."),
        (words.RATE, "Too many requests"),
        (words.MODEL, "The model `x` does not exist"),
        (words.OVERLOADED, "The model is loading"),
        (words.NEEDS_TLS, "The plain HTTP request was sent to HTTPS port"),
    ],
)
def test_a_phrase_matches_its_servers_words(phrase: re.Pattern[str], message: str) -> None:
    assert phrase.search(message)
