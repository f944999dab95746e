"""The gateway's own key in an upstream's answer: it does not reach the caller."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from flask_gateway.dialects.redaction import END, Redaction, WatchfulTally

KEY = "sk-proj-4Zq8/Tn+w2=Kd0Vx_9Lb"


def secret(key: str = KEY) -> Redaction:
    found = Redaction.of(key)
    assert found is not None
    return found


def slashed(key: str) -> str:
    return json.dumps(key).replace("/", "\\/")


def as_go_does(key: str) -> str:
    return json.dumps(key).replace("/", "\\u002F").replace("<", "\\u003c").replace("&", "\\u0026")


KEYS = [KEY, "planted-upstream-key-77c1", "12345678", 'a"b\\c/d<e>f&g', "0123456789abcdef" * 8]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("write", [str, json.dumps, slashed, as_go_does])
def test_the_key_is_found_in_each_way_to_write_it(key: str, write: Callable[[str], str]) -> None:
    data = f"before {write(key)} after {write(key)}".encode()
    redacted = secret(key).redact(data)
    assert redacted.count(b"[redacted]") == 2
    assert key.encode() not in redacted
    assert write(key)[1:-1].encode() not in redacted
    assert redacted.startswith(b"before ")


def test_everything_else_stays_as_it_is() -> None:
    data = b'data: {"a": "' + KEY[:-1].encode() + b'"}\n\n'
    assert secret().redact(data) is data or secret().redact(data) == data


@pytest.mark.parametrize(
    "key", [None, "", "x", "ollama", "EMPTY", "lm-studio", "sk-no-key-required", "1234567"]
)
def test_a_key_that_is_no_secret_is_not_searched(key: str | None) -> None:
    assert Redaction.of(key) is None


def spell(*pieces: str) -> tuple[WatchfulTally, list[bool]]:
    tally, suspicious = WatchfulTally(secret()), []
    for piece in pieces:
        tally.add(piece)
        suspicious.append(tally.suspicious)
    return tally, suspicious


@pytest.mark.parametrize("at", range(1, len(KEY)))
def test_a_key_in_two_pieces_is_noticed(at: int) -> None:
    tally, suspicious = spell("Your key is " + KEY[:at], KEY[at:] + ", keep it.")
    assert tally.spelled
    assert suspicious[0] is (at >= END)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 11])
@pytest.mark.parametrize("before", ["", "k", "It is s", "sk-proj-", KEY[:-1]])
def test_a_key_in_many_pieces_is_noticed_before_it_is_out(size: int, before: str) -> None:
    text = before + KEY + "."
    tally, passed = WatchfulTally(secret()), ""
    for at in range(0, len(text), size):
        tally.add(text[at : at + size])
        if tally.spelled:
            break
        if not tally.suspicious:
            passed = text[: at + size]
    assert tally.spelled
    assert KEY not in passed
    assert len(passed) - len(before) < END or passed in before + KEY[:END]


def test_text_that_only_begins_like_it_is_let_go() -> None:
    tally, suspicious = spell("sk-proj-4Zq", "8 is no key", " at all")
    assert suspicious == [True, False, False]
    assert not tally.spelled


def test_watching_does_not_change_the_count() -> None:
    tally, _ = spell("Good morning", " 你好")
    assert tally.tokens == 6
