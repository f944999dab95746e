"""Tests what is read from an upstream's error: cleaned, bounded, at any depth."""

from __future__ import annotations

import json

import pytest

from flask_gateway.dialects.error_mapping import error_for
from flask_gateway.dialects.openai import envelope


def test_control_characters_are_removed_from_messages() -> None:
    said = {
        "message": "a\x1b[31mb\x9bc\u202ed\x00e\x7f",
        "type": "t",
        "code": "c",
        "odd": ["\x1b", {"\x85k": "\u2066"}],
    }
    told = envelope(error_for(400, {}, json.dumps({"error": said}).encode(), "llama"))["error"]
    assert told["message"] == "a [31mb c d e "
    assert told["odd"] == [" ", {" k": " "}]
    assert envelope(error_for(422, {}, b"no\x1b[2J\xff", "llama"))["error"]["message"] == "no [2J\ufffd"


def test_words_and_fields_are_bounded() -> None:
    said = {"message": "x" * 50_000, "type": "t", "code": "c", "param": "p", "input": "y" * 50_000}
    told = envelope(error_for(400, {}, json.dumps({"error": said}).encode(), "llama"))["error"]
    assert told == {"message": "x" * 4000, "type": "t", "code": "c", "param": "p"}
    text = envelope(error_for(422, {}, b"z" * 60_000, "llama"))["error"]["message"]
    assert text == "z" * 500


@pytest.mark.parametrize(
    "deep", [b"[" * 60_000, b'{"error":' * 9_000, b'{"error":' * 400 + b"1" + b"}" * 400]
)
def test_deep_nesting_breaks_nothing(deep: bytes) -> None:
    assert error_for(400, {}, deep, "llama").status == 400
