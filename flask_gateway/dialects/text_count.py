"""Counts the characters of JSON texts in their bytes, without decoding them.

A wide character belongs to a script without an alphabet (Chinese, Japanese, Korean), or is an emoji. Its
first byte in UTF-8, or the first digits of its escape, show it. A few ancient scripts count as wide, too.
"""

from __future__ import annotations

from ..model.large_json import SLICE, Texts, slices

_CONTINUATION = bytes(range(0x80, 0xC0))
#: First bytes whose characters are all wide, or nearly all: U+3000 to U+DFFF, and all beyond U+FFFF.
_WIDE_FIRST = bytes([*range(0xE3, 0xEE), *range(0xF0, 0xF5)])
_OTHERS = bytes(set(range(256)) - set(_WIDE_FIRST))
#: First bytes of which some characters are wide, with the second bytes of those that are: jamo; CJK radicals;
#: compatibility and full-width forms.
_WIDE_SECOND = {
    0xE1: range(0x84, 0x88),
    0xE2: range(0xBA, 0xC0),
    0xEF: (*range(0xA4, 0xAC), *range(0xBC, 0xC0)),
}
#: The same as escapes. A character beyond U+FFFF is two escapes, of which the first is counted.
_WIDE_ESCAPES = tuple(
    f"\\u{digits}".encode() for digits in ("11", "2e", "2f", *"3456789abcd", "f9", "fa", "ff")
)
_SECOND_HALVES = tuple(f"\\u{digits}".encode() for digits in ("dc", "dd", "de", "df"))
#: JSON's blanks.
_BLANKS = b" \t\r\n"


def count_characters(text: bytes) -> tuple[int, int]:
    """Count the characters of a piece of a JSON text, and those of them that are wide."""
    characters, wide = len(text), 0
    if b"\\" in text:
        characters, wide = _count_escapes(text)
    if not text.isascii():
        characters -= len(text) - len(text.translate(None, _CONTINUATION))
        wide += _count_wide(text)
    return characters, wide


def count_wide(text: str) -> int:
    """Count the wide characters of a text."""
    pieces = (text[at : at + SLICE] for at in range(0, len(text), SLICE))
    return sum(_count_wide(piece.encode("utf-8", "surrogatepass")) for piece in pieces)


def _count_wide(text: bytes) -> int:
    wide = len(text.translate(None, _OTHERS))
    for first, seconds in _WIDE_SECOND.items():
        if first in text:
            wide += sum(text.count(bytes((first, second))) for second in seconds)
    return wide


def _count_escapes(text: bytes) -> tuple[int, int]:
    """Count the characters of a text, and those of its escapes that are wide, as if it were all ASCII."""
    text = text.replace(rb"\\", b"-").lower()
    numbered = text.count(b"\\u")
    characters = len(text) - 5 * numbered - (text.count(b"\\") - numbered)
    if not numbered:
        return characters, 0
    halves = sum(map(text.count, _SECOND_HALVES))
    return characters - halves, sum(map(text.count, _WIDE_ESCAPES)) - halves


def has_only_numbers(values: bytes | memoryview) -> bool:
    """Whether a JSON list holds no text and no object, however deep."""
    return not any(b'"' in piece or b"{" in piece for piece in slices(values))


def count_whole_numbers(values: bytes | memoryview) -> int:
    """Count the whole numbers in a JSON list of numbers, or of lists of numbers."""
    count = 1
    for piece in slices(values):
        bare = piece.translate(None, _BLANKS)
        # A comma stands before each value except the first of its list.
        count += bare.count(b",") - bare.count(b"[]")
        count -= sum(map(bare.count, (b".", b"true", b"false", b"null")))
    return max(0, count)


def count_values(values: bytes | memoryview) -> int:
    """Return an upper bound for the values in a JSON list, nested ones included."""
    texts, commas = Texts(), 0
    for piece in slices(values):
        inside = texts.inside
        commas += sum(part.count(b",") for part in texts.split(piece)[inside::2])
    return commas + 1
