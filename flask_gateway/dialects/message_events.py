"""Reads the events of Anthropic's Messages API: blocks with deltas, then a stop reason, then the last event.

https://docs.claude.com/en/api/messages-streaming
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..model.call import Call
from .reported_usage import ReportedUsage
from .usage import Tally
from .values import error_in


class _Delta(msgspec.Struct, gc=False):
    text: Any = None
    thinking: Any = None
    partial_json: Any = None
    stop_reason: Any = None


class _Message(msgspec.Struct, gc=False):
    usage: Any = None


class _Event(msgspec.Struct, gc=False):
    """The fields of an event that are decoded."""

    type: str = ""
    delta: _Delta | None = None
    message: _Message | None = None
    usage: Any = None


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_any = msgspec.json.Decoder(Any).decode

#: Events that say nothing of the answer itself.
_SILENT = frozenset({"message_start", "ping", "content_block_stop", "message_stop", ""})


class MessageReader:
    """Reads the events of one stream, in order (``dialect.Reader``)."""

    usage_only = usage_null = False  # the API reports the usage without being asked
    may_end = ended_in_content = False

    def __init__(self, call: Call) -> None:
        self.complete = self.finished = self._begun = False
        self.reported = ReportedUsage()
        self.error: object = None
        self.tally = Tally()
        #: The usage object of the first event, with what later ones replace.
        self._usage: dict[str, Any] = {}

    def read(self, data: bytes) -> bool:
        try:
            event = _decode_event(data)
        except msgspec.ValidationError:
            return self.read_object(_decode_any(data))
        if event.type == "content_block_delta" and event.delta is not None:  # the usual case
            self._begun = True
            self._count(event.delta)
            return True
        if event.type in ("error", ""):
            return self._read_failed(_decode_any(data))
        return self._read_event(event)

    def read_object(self, document: Any) -> bool:
        if not isinstance(document, dict):
            raise ValueError("no object")
        kind = document.get("type")
        if kind == "error" or not isinstance(kind, str) or not kind:
            return self._read_failed(document)
        delta, message = document.get("delta"), document.get("message")
        event = _Event(
            kind,
            msgspec.convert(delta, _Delta) if isinstance(delta, dict) else None,
            msgspec.convert(message, _Message) if isinstance(message, dict) else None,
            document.get("usage"),
        )
        if kind == "content_block_delta" and event.delta is not None:
            self._count(event.delta)
        return self._read_event(event)

    def _read_failed(self, document: Any) -> bool:
        """Read an error, or an event without a type, which has no meaning."""
        if not isinstance(document, dict):
            raise ValueError("no object")
        self.error = error_in(document) or (document if document.get("type") == "error" else None)
        return False

    def _read_event(self, event: _Event) -> bool:
        if event.message is not None:
            self._add_usage(event.message.usage)
        if event.type == "message_delta":
            self._add_usage(event.usage)
            if event.delta is not None and event.delta.stop_reason is not None:
                self.complete = True
        elif event.type == "message_stop":
            self.finished = self.complete = self.complete or self._begun
        content = event.type not in _SILENT
        self._begun = self._begun or content
        return content

    def _add_usage(self, usage: Any) -> None:
        """Add a usage object. Its counts are cumulative; those that are null leave the earlier ones."""
        if isinstance(usage, dict):
            self._usage |= {name: value for name, value in usage.items() if value is not None}
            self.reported.add(self._usage)

    def _count(self, delta: _Delta) -> None:
        for text in (delta.text, delta.thinking, delta.partial_json):
            if isinstance(text, str):
                self.tally.add(text)
