"""Reads the events of the Responses API. Each has a type; the last one repeats the whole response."""

from __future__ import annotations

from typing import Any

import msgspec

from ..model.call import Call
from .reported_usage import ReportedUsage
from .usage import Tally
from .values import error_in, is_error, is_sign_of_life, says


class _Response(msgspec.Struct, gc=False):
    """The fields of a response that are decoded. The rest may be pictures of many megabytes."""

    status: Any = None
    error: Any = None
    usage: Any = None
    id: Any = None
    model: Any = None
    created_at: Any = None
    service_tier: Any = None


class _Numbered(msgspec.Struct):
    sequence_number: int = -1


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    delta: Any = msgspec.UNSET
    item: Any = None
    part: Any = None
    response: _Response | None = None
    error: Any = None


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_any = msgspec.json.Decoder(Any).decode
_decode_numbered = msgspec.json.Decoder(_Numbered).decode

_OPENING = frozenset({"response.created", "response.queued", "response.in_progress", ""})
_END = frozenset({"response.completed", "response.done", "response.incomplete"})
_FAILED = frozenset({"response.failed", "response.error", "response.cancelled", "response.canceled", "error"})
#: Events that announce a part of the answer, usually without content.
_ANNOUNCING = frozenset(
    {"response.output_item.added", "response.content_part.added", "response.reasoning_summary_part.added"}
)
#: Fields of an item that name it.
_NAMING = frozenset({"type", "id", "status", "role", "object", "phase"})


class ResponseReader:
    """Reads the events of one stream, in order (``openai.Reader``).

    :ivar response: the response's ``id``, ``model`` and ``created_at``, as far as they are known.
    """

    usage_only = usage_null = False  # the last event always reports the usage
    may_end = ended_in_content = finished = False

    def __init__(self, call: Call) -> None:
        self.complete = False
        self.reported = ReportedUsage()
        self.error: object = None
        self.tally = Tally()
        self.response: dict[str, Any] = {}
        self._last = b"{}"

    @property
    def next_number(self) -> int:
        """The ``sequence_number`` for the event after the one that was read last."""
        try:
            return _decode_numbered(self._last).sequence_number + 1
        except (ValueError, RecursionError):
            return 0

    def read(self, data: bytes) -> bool:
        self._last = data
        try:
            event = _decode_event(data)
        except msgspec.ValidationError:
            return self.read_object(_decode_any(data))
        if event.type in _FAILED or event.error or not event.type:
            return self._read_failed(event, _decode_any(data))
        delta = event.delta
        if type(delta) is str:  # the usual case
            self.tally.add(delta)
            return bool(delta)
        return self._read_event(event)

    def read_object(self, document: Any) -> bool:
        fields = document if isinstance(document, dict) else {}
        response = fields.get("response")
        event = _Event(
            fields["type"] if isinstance(fields.get("type"), str) else "",
            fields.get("delta", msgspec.UNSET),
            fields.get("item"),
            fields.get("part"),
            msgspec.convert(response, _Response) if isinstance(response, dict) else None,
            fields.get("error"),
        )
        if event.type in _FAILED or event.error or not event.type:
            return self._read_failed(event, document)
        return self._read_event(event)

    def _read_failed(self, event: _Event, document: Any) -> bool:
        """Read an error in any of its shapes, or an event without a type, which has no meaning."""
        inner = event.response.error if event.response else None
        if is_error(event.error) or is_error(inner):
            self.error = event.error if is_error(event.error) else inner
        elif event.type.startswith("response."):
            self.error = {"code": event.type, "message": f"The response ended with {event.type}."}
        else:
            self.error = error_in(document)
        if self.error is None and not isinstance(document, dict):
            raise ValueError("no object")
        return self.error is None and bool(event.type) and self._read_event(event)

    def _read_event(self, event: _Event) -> bool:
        kind = event.type
        if event.delta is not msgspec.UNSET:
            if isinstance(event.delta, str):
                self.tally.add(event.delta)
            return says(event.delta)
        if kind in _END:
            return self._read_end(event.response)
        if event.response is not None:
            known = {name: getattr(event.response, name) for name in ("id", "model", "created_at")}
            self.response |= {name: value for name, value in known.items() if value is not None}
        if kind in _OPENING or is_sign_of_life(kind):
            return False
        if kind in _ANNOUNCING:
            return _names_something(event.item) or _names_something(event.part)
        return True

    def _read_end(self, response: _Response | None) -> bool:
        response = response or _Response()
        if is_error(response.error) or response.status in ("failed", "cancelled"):
            self.error = response.error or {"code": f"response.{response.status}"}
            return False
        self.complete = True
        self.reported.add(response.usage)
        self.reported.add_service(response.service_tier)
        return True


def _names_something(item: Any) -> bool:
    """Whether an item has content besides its type and its name: a tool call has."""
    if not isinstance(item, dict):
        return False
    if item.get("type") in ("message", "reasoning"):
        return says([item.get("content"), item.get("summary")])
    return any(says(value) for name, value in item.items() if name not in _NAMING)
