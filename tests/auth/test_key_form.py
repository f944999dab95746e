"""The form of issued keys: unique, recognisable, and a typing error is told."""

from __future__ import annotations

import re
import string

from hypothesis import given
from hypothesis import strategies as st

from flask_gateway.auth.key_form import PATTERN, check_digits, hint_of, is_mistyped, new_id, new_key


def test_keys_have_the_form_that_scanners_look_for() -> None:
    keys = {new_key() for _ in range(200)}
    assert len(keys) == 200
    assert all(re.fullmatch(PATTERN, key) and not is_mistyped(key) for key in keys)
    assert re.fullmatch("key_[a-z2-7]{12}", new_id())


@given(st.integers(7, 55), st.sampled_from("0123456789ABCxyz-"))
def test_one_wrong_character_is_told(place: int, wrong: str) -> None:
    key = new_key()
    other = key[:place] + wrong + key[place + 1 :]
    assert is_mistyped(other) == (other != key)


def test_keys_of_another_form_are_never_called_mistyped() -> None:
    assert not is_mistyped("sk-proj-abc")
    assert is_mistyped("sk-fgw-short")


def test_check_digits_are_crc_32_in_base62() -> None:
    digits = string.digits + string.ascii_uppercase + string.ascii_lowercase
    number = 0
    for digit in check_digits("123456789"):
        number = number * 62 + digits.index(digit)
    assert number == 0xCBF43926  # the check value of CRC-32/ISO-HDLC


def test_a_hint_shows_no_more_than_ten_characters() -> None:
    assert hint_of("sk-fgw-" + "a" * 45 + "wxyz") == "sk-fgw-…wxyz"
    assert hint_of("short-key") == ""
