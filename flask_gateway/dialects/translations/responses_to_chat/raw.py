"""Reads JSON one level at a time: values stay as the caller wrote them until they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

Raw = msgspec.Raw
Fields = dict[str, Raw]

_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_list = msgspec.json.Decoder(list[Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode


def written(value: Any) -> Raw:
    """Encode a value."""
    return Raw(msgspec.json.encode(value))


def _first(raw: Raw) -> bytes:
    return bytes(memoryview(raw)[:1])


def on_one_line(raw: Raw) -> Raw:
    """The value without line ends, which events cannot carry. Blanks may be lost with them."""
    data = bytes(memoryview(raw))
    return Raw(msgspec.json.format(data, indent=-1)) if b"\n" in data or b"\r" in data else raw


def is_null(raw: Raw | None) -> bool:
    return raw is None or bytes(memoryview(raw)[:4]) == b"null"


def object_of(raw: Raw | None) -> Fields | None:
    """The fields of an object; ``None`` if the value is none."""
    if raw is None or _first(raw) != b"{":
        return None
    return _decode_object(raw)


def list_of(raw: Raw | None) -> list[Raw] | None:
    """The values of a list; ``None`` if the value is none."""
    if raw is None or _first(raw) != b"[":
        return None
    return _decode_list(raw)


def is_text(raw: Raw | None) -> bool:
    return raw is not None and _first(raw) == b'"'


def text_of(raw: Raw | None) -> str:
    """The value as a string; empty if it is none."""
    if raw is None or not is_text(raw):
        return ""
    try:
        return _decode_text(raw)
    except ValueError:
        return ""


def value_of(raw: Raw | None) -> Any:
    """The decoded value; ``None`` if there is none, or no valid one."""
    try:
        return None if raw is None else msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        return None


def joined(texts: Sequence[Raw], separator: str = "") -> Raw:
    """Join strings as they are written, escapes and all.

    :param texts: JSON strings. :param separator: without quotes and backslashes.
    """
    if len(texts) == 1:
        return texts[0]
    between = msgspec.json.encode(separator)[1:-1]
    return Raw(b'"%b"' % between.join(bytes(memoryview(text)[1:-1]) for text in texts))
