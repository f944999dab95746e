"""Defines what a parsed answer says, whatever its API."""

from __future__ import annotations

from typing import Any

import msgspec

from ...dialects.sse import named

_decode = msgspec.json.Decoder(dict[str, Any]).decode

#: The fields of an error object of the OpenAI API. Its SDKs read all of them.
ERROR_FIELDS = frozenset({"message", "type", "param", "code"})


class Heard(msgspec.Struct):
    """A parsed answer. ``flaws``: the faults of its form in words, the most important first.

    :ivar finish: ``stop`` if the answer is complete. :ivar usage: in the words of chat.
    """

    text: str = ""
    finish: str | None = None
    done: bool = False
    model: str | None = None
    usage: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    flaws: list[str] = msgspec.field(default_factory=list)


def named_event(heard: Heard, event: bytes) -> dict[str, Any] | None:
    """The fields of an event that has a name and that name as its type; otherwise note the flaw."""
    pair = named(event)
    try:
        fields = _decode(pair[1]) if pair else {}
    except (msgspec.DecodeError, UnicodeDecodeError):
        fields = {}
    if pair is None or fields.get("type") != pair[0].decode():
        heard.flaws.append("an event that is not a JSON object with its name")
        return None
    return fields
