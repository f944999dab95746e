"""Shortens JSON of very many values, so that a reader decodes only a few of them.

Decoding a million values holds the GIL for up to a second, and no other thread runs meanwhile. Skipping them
takes some milliseconds. So the reader of such an event or body gets its known fields, and a stand-in for each
field that is bulky itself. The caller gets the original bytes.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..model.call import Call
from ..model.large_json import Texts, check_utf8, pause, pausing, slices, taking_turns
from .expected_choices import choices_of
from .usage import Tally

#: Longer events and bodies, bytes, are checked. Decoding the worst one of this size takes 10 ms.
LARGE = 64 * 1024
#: JSON with more values and containers is bulky. Decoding so many takes up to 40 ms.
MAX_PARTS = 50_000
#: The longest value that is kept, bytes. A text is kept at any length.
MAX_VALUE = 64 * 1024

_KNOWN = (
    *("type", "sequence_number", "object", "status", "code", "message", "detail", "id", "model"),
    *("created_at", "choices", "index", "delta", "text", "finish_reason", "item", "part", "response"),
    *("error", "usage", "x_groq", "timings", "data", "output", "results", "meta", "usageMetadata"),
    *("eval_count", "prompt_eval_count", "content", "content_block", "input_tokens"),
)
_Fields = msgspec.defstruct("_Fields", [(name, msgspec.Raw, msgspec.Raw()) for name in _KNOWN], gc=False)
_decode_fields = msgspec.json.Decoder(_Fields).decode
#: The fields whose text the model has written.
_WRITTEN = frozenset({"delta", "message", "text"})
#: The fields that lead to a document's answer.
_ON_THE_WAY = frozenset({"choices", "message", "tool_calls", "output", "content"})
#: It has content, as every bulky value has, and is neither a count nor a text.
_STAND_IN = msgspec.Raw(b'{"content":"..."}')
_CHOICE = msgspec.Raw(b'{"index":0,"delta":{"content":"..."}}')
#: The most choices that are told apart.
_MAX_CHOICES = 128


def is_bulky(data: bytes) -> bool:
    """Whether JSON has more than :data:`MAX_PARTS` values and containers."""
    if len(data) <= LARGE:
        return False
    texts, parts = Texts(), 0
    with taking_turns(len(data)):
        for piece in slices(data):
            inside = texts.inside
            for part in pausing(texts.split(piece)[inside::2]):
                parts += part.count(b",") + part.count(b"[") + part.count(b"{")
            if parts > MAX_PARTS:
                return True
    return False


def shortened(data: bytes, choices: int) -> tuple[bytes, int]:
    """Return the known fields of a bulky object, as JSON, and the size of the model's text that is left out.

    :param choices: how many choices it may have. If it has more, they count as one with content.
    :raises ValueError: it is no JSON object. :raises RecursionError: it is nested too deeply.
    """
    with taking_turns(len(data)):
        shortening = _Shortening(min(choices, _MAX_CHOICES))
        found = _decode_fields(data)
        pause(len(data))
        fields = shortening.fields(found)
    return msgspec.json.encode(fields), shortening.left_out


def for_reader(event: bytes, call: Call, tally: Tally) -> bytes:
    """Return the shortened JSON of a bulky event, or its first byte if it is no JSON object.

    :param tally: counts the text that is left out.
    """
    try:
        event.isascii() or check_utf8(event)
        short, left_out = shortened(event, choices_of(call))
    except (ValueError, RecursionError):
        return event[:64].lstrip()[:1]
    tally.add_bytes(left_out)
    return short


def outlined(data: bytes) -> Any:
    """Decode a bulky document on the way to its answer. Other long values stay as they were written, in
    :class:`msgspec.Raw`: what is encoded from the document has them again, on one line.

    :raises ValueError: it is no JSON. :raises RecursionError: it is nested too deeply.
    """
    with taking_turns(len(data)):
        data.isascii() or check_utf8(data)
        line = data.replace(b"\n", b" ").replace(b"\r", b" ")  # JSON's texts have neither
        return _outlined(msgspec.Raw(line.strip()), on_the_way=True)


def _outlined(raw: msgspec.Raw, *, on_the_way: bool) -> Any:
    view = memoryview(raw)
    first = bytes(view[:1])
    if len(view) <= MAX_VALUE or first == b'"':
        return msgspec.json.decode(raw)
    if on_the_way and first == b"{":
        fields = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        return {name: _outlined(value, on_the_way=name in _ON_THE_WAY) for name, value in fields.items()}
    if on_the_way and first == b"[":
        return [
            _outlined(value, on_the_way=True) for value in msgspec.json.decode(raw, type=list[msgspec.Raw])
        ]
    return raw


class _Shortening:
    def __init__(self, choices: int) -> None:
        self.left_out = 0
        self._choices = choices

    def fields(self, found: Any) -> dict[str, Any]:
        values = {name: getattr(found, name) for name in _KNOWN}
        return {name: self._value(name, raw) for name, raw in values.items() if len(memoryview(raw))}

    def _value(self, name: str, raw: msgspec.Raw) -> Any:
        view = memoryview(raw)
        first = bytes(view[:1])
        if len(view) <= MAX_VALUE or first == b'"':
            return raw
        if name == "choices":
            return self._list(raw)
        if name == "response" and first == b"{":
            return self.fields(_decode_fields(raw))
        if name in _WRITTEN:
            self.left_out += len(view)
        return _STAND_IN

    def _list(self, raw: msgspec.Raw) -> list[Any]:
        for size in {1, self._choices}:
            try:
                # It stops at the first element that is too many. A list would first decode all of them.
                found = msgspec.json.decode(raw, type=tuple[(_Fields,) * size])  # type: ignore[misc]
                pause(len(memoryview(raw)))
            except msgspec.ValidationError:
                continue
            return [self.fields(choice) for choice in found]
        self.left_out += len(memoryview(raw))
        return [_CHOICE]
