"""Reads an answer that is a stream of Anthropic's events. An event without a name gets one."""

from __future__ import annotations

import msgspec

from .sse import name_of
from .stream_transcript import StreamTranscript


class _Typed(msgspec.Struct):
    type: str = ""


_decode_type = msgspec.json.Decoder(_Typed).decode


class MessageTranscript(StreamTranscript):
    """A stream whose events all have names: the SDKs skip events without."""

    __slots__ = ()

    def _pass_data(self, event: bytes, data: bytes) -> bytes:
        if event[:6] != b"event:" and not name_of(event):
            event = _name_for(data) + event
        return super()._pass_data(event, data)


def _name_for(data: bytes) -> bytes:
    """The line that names an event; nothing if its data has no type."""
    try:
        kind = _decode_type(data).type
    except (ValueError, RecursionError):
        return b""
    return b"event: %b\n" % kind.encode() if kind.isascii() and kind.isidentifier() else b""
