"""Tests the example of masking: what is found, and that no cut of a stream changes the result."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from masking import KINDS, MOST, Masking

from flask_gateway.testing import InspectorConformance, call_of

SAMPLES = {
    "Write to ann.b+x@mail.example.org, please.": "Write to [EMAIL], please.",
    "ann@example.org": "[EMAIL]",
    "Pay with 4111 1111 1111 1111!": "Pay with [CARD]!",
    "DE89 3704 0044 0532 0130 00 is mine": "[IBAN] is mine",
    "from 192.168.0.1 to 10.0.0.255.": "from [IPV4] to 10.0.0.255.",
    "1234567890123456789012345 is too long": "1234567890123456789012345 is too long",
    "nothing here, not even a@b": "nothing here, not even a@b",
}


class TestMasking(InspectorConformance):
    samples = SAMPLES

    def make(self) -> object:
        return Masking()


#: Pieces of texts that make and break matches where they meet.
PARTS = [
    "ann",
    "@",
    "b.org",
    ".",
    " ",
    "4111",
    "11",
    "-",
    "1" * 13,
    "DE89",
    " 3704",
    "0044",
    "10.0",
    "\n",
    "ü",
    "x",
]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(PARTS), max_size=40), st.lists(st.integers(0, 200), max_size=30))
def test_for_any_cut_of_any_text_the_result_is_that_of_the_whole(parts: list[str], cuts: list[int]) -> None:
    text = "".join(parts)
    pattern = re.compile("|".join(f"(?P<{name}>{one})" for name, one in KINDS.items()))
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    inspection = Masking().open(call_of())
    out = ""
    for begin, end in pairwise(places):
        out += inspection.text("content", text[begin:end])
    out += inspection.end("content")
    assert out == pattern.sub(lambda found: f"[{found.lastgroup}]", text)


def test_no_more_is_held_back_than_it_says() -> None:
    inspection = Masking().open(call_of())
    sent = sum(len(inspection.text("content", "word ")) for _ in range(100))
    assert inspection.hold < 120
    assert sent == 500 - inspection.hold


def test_channels_do_not_mix_and_matches_are_counted() -> None:
    inspection = Masking(["EMAIL"]).open(call_of())
    out = [inspection.text(channel, text) for channel, text in (("a", "ann@"), ("b", "bob@"), ("a", "x.org"))]
    assert out == ["", "", ""]
    assert (inspection.end("a"), inspection.end("b"), inspection.verdict) == ("[EMAIL]", "bob@", "masked(1)")


def test_a_pattern_of_your_own() -> None:
    inspection = Masking([], {"TICKET": r"\bT-\d{6}\b"}).open(call_of())
    assert inspection.text("c", "T-123456 and T-1234567 and xT-123456") + inspection.end("c") == (
        "[TICKET] and T-1234567 and xT-123456"
    )


@pytest.mark.parametrize("pattern", [r"\d+", r"a*", r"a?", "(?=x)", rf"a{{1,{MOST + 1}}}"])
def test_patterns_without_a_bound_refuse_the_start(pattern: str) -> None:
    with pytest.raises(ValueError, match="BAD"):
        Masking([], {"BAD": pattern})
