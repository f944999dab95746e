"""Journal lines: whole ones come back, torn and damaged ones do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.ledger_lines import opened, settled

from flask_gateway.ledger.lines import MOST, Applied, Hold, decode, encode
from flask_gateway.model.units import Units

LINES = [
    opened(1, holds=(Hold("key:a", 5, 6, 2_000_000),), user="älice\n", model="gpt 4o"),
    settled(1, cost=None, tags={"a": "b c\n"}, applied=(Applied("key:a", 2**51), Applied("all", 0))),
    settled(2, units=Units(input=1, write_1h=5), end=False, source="estimated"),
]


def test_lines_come_back_as_they_were() -> None:
    text = b"".join(map(encode, LINES))
    read = list(decode(text, 100))
    assert [line for line, *_ in read] == LINES
    assert [line.end for line in read][-1] == 100 + len(text)


@given(st.integers(0, 2), st.integers(0, 400))
def test_a_torn_line_is_not_there_yet_and_the_next_one_is_read(which: int, cut: int) -> None:
    text = encode(LINES[which])
    torn = text[: min(cut, len(text) - 1)]
    assert [line for line, *_ in decode(torn)] == []
    whole = [LINES[which]] if len(torn) == len(text) - 1 else []
    read = [line for line, *_ in decode(torn + encode(LINES[0])) if line is not None]
    assert read == [*whole, LINES[0]]


@given(st.integers(1, 400), st.integers(1, 255))
def test_a_damaged_byte_costs_one_line(at: int, flip: int) -> None:
    text = bytearray(encode(LINES[0]))
    at = min(at, len(text) - 2)
    text[at] ^= flip
    read = [line for line, *_ in decode(bytes(text) + encode(LINES[1]))]
    assert read[-1] == LINES[1]
    assert LINES[0] not in read


def test_a_line_of_a_newer_version_is_counted_as_damaged() -> None:
    text = encode(LINES[0]).replace(b'"t":"o"', b'"t":"z"')
    assert [line for line, *_ in decode(text)] == [None]


def test_a_line_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match=str(MOST)):
        encode(opened(1, user="x" * MOST))


def test_a_leg_without_cost_and_tokens_is_not_charged() -> None:
    free = Units(requests=0)
    assert not settled(1, cost=0, units=free).charged
    assert settled(1, cost=None, units=free).charged
    assert settled(1, cost=0, units=Units(output=1)).charged
    assert settled(1, cost=-5, units=free).charged
