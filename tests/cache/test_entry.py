"""Tests that an entry is read whole and for its own key, or not at all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from kit.cached import KEY, OTHER, entry

from flask_gateway.cache.entry import KeptAnswer, decoded, encoded

DATA = encoded(KEY, entry())


def test_an_entry_is_read_as_it_was_kept() -> None:
    assert decoded(KEY, DATA) == entry()
    empty = KeptAnswer(0.5, "text/event-stream", "", 0, 0, b"")
    assert decoded(KEY, encoded(KEY, empty)) == empty


def test_an_entry_of_another_key_is_none() -> None:
    assert decoded(OTHER, DATA) is None


@given(st.integers(0, len(DATA) - 1), st.integers(1, 255))
def test_a_damaged_byte_is_noticed(place: int, change: int) -> None:
    damaged = bytearray(DATA)
    damaged[place] ^= change
    assert decoded(KEY, bytes(damaged)) is None


@given(st.integers(0, len(DATA) - 1))
def test_a_cut_is_noticed(length: int) -> None:
    assert decoded(KEY, DATA[:length]) is None


@given(st.binary(max_size=64))
def test_other_bytes_are_no_entry(data: bytes) -> None:
    assert decoded(KEY, data) is None
