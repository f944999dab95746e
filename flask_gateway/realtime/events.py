"""Reads and words the JSON events of WebSocket sessions: of the Realtime API and of Responses over WebSocket.

https://platform.openai.com/docs/api-reference/realtime-client-events and the recordings of Codex 0.171.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..dialects.openai import envelope
from ..dialects.reported_usage import ReportedUsage
from ..model.call import Operation, Usage
from ..model.error_headers import error_headers
from ..model.errors import GatewayError, InvalidField, InvalidJson

#: The event by which a caller asks for a response, and the one that says it has begun.
CREATE, CREATED = "response.create", "response.created"
#: The events that end a response.
DONE = frozenset(
    ("response.done", "response.completed", "response.failed", "response.incomplete", "response.cancelled")
)
UPDATE, ERROR = "session.update", "error"
#: The ends of the types of events that carry a piece of text.
_TEXTS = ("text.delta", "transcript.delta", "arguments.delta", "input.delta")
#: The Realtime API names the details of its usage in its own way.
_DETAILS = {
    "input_token_details": "input_tokens_details",
    "output_token_details": "output_tokens_details",
}


class Event(msgspec.Struct):
    """The part of an event that every event has, and the text of a delta."""

    type: str = ""
    delta: str = ""

    @property
    def text(self) -> str:
        """The piece of the model's text that it carries; empty if it carries none."""
        return self.delta if self.delta and self.type.endswith(_TEXTS) else ""


class _Response(msgspec.Struct):
    id: str = ""
    usage: Any = None


class ResponseEvent(msgspec.Struct):
    """An event about a response."""

    response: _Response = msgspec.field(default_factory=_Response)

    @property
    def usage(self) -> Usage | None:
        """The usage of the response; ``None`` if the event does not say it."""
        return usage_of(self.response.usage)


class _Identified(msgspec.Struct):
    event_id: str | None = None


class _Error(msgspec.Struct):
    event_id: str | None = None


class ErrorEvent(msgspec.Struct):
    """An event of an upstream that reports an error."""

    error: _Error = msgspec.field(default_factory=_Error)


_decode_event = msgspec.json.Decoder(Event).decode
_decode_response = msgspec.json.Decoder(ResponseEvent).decode
_decode_error = msgspec.json.Decoder(ErrorEvent).decode
_decode_identified = msgspec.json.Decoder(_Identified).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def event_of(payload: bytes) -> Event:
    """Return the event in a message; one without a type if it is none."""
    try:
        return _decode_event(payload)
    except (ValueError, RecursionError):
        return Event()


def response_of(payload: bytes) -> ResponseEvent:
    """Return an upstream's event about a response."""
    try:
        return _decode_response(payload)
    except (ValueError, RecursionError):
        return ResponseEvent()


def failed_event(payload: bytes) -> str | None:
    """The id of the caller's event that an error event is about; ``None`` if it names none."""
    try:
        return _decode_error(payload).error.event_id
    except (ValueError, RecursionError):
        return None


def event_id_of(payload: bytes) -> str | None:
    """The id that a caller gave its event; ``None`` if it gave none."""
    try:
        return _decode_identified(payload).event_id
    except (ValueError, RecursionError):
        return None


def usage_of(fields: Any) -> Usage | None:
    """Return the usage in a ``usage`` object of either API; ``None`` if it has none."""
    if not isinstance(fields, dict):
        return None
    reported = ReportedUsage()
    reported.add({_DETAILS.get(name, name): value for name, value in fields.items()})
    return reported.complete() if reported or reported.is_zero else None


def fields_of(payload: bytes) -> dict[str, msgspec.Raw]:
    """Return the fields of a caller's event.

    :raises InvalidJson: it is no JSON object.
    """
    try:
        return _decode_fields(payload)
    except (ValueError, RecursionError):
        raise InvalidJson("An event is no JSON object. Send each event as one JSON object.") from None


def text_of(raw: msgspec.Raw | None) -> str | None:
    """Return a field that is a text; ``None`` if it is missing or no text."""
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw, type=str)
    except (ValueError, RecursionError):
        return None


def model_in(fields: dict[str, msgspec.Raw], name: str) -> str | None:
    """The ``model`` within an object of the event; ``None`` if it names none."""
    if name not in fields:
        return None
    try:
        return text_of(_decode_fields(fields[name]).get("model"))
    except (ValueError, RecursionError):
        return None


def names_model(fields: dict[str, msgspec.Raw], model: str) -> str | None:
    """The object of an event of the Realtime API that names the session's model; ``None`` if none does.

    :raises InvalidField: it names another model.
    """
    for name in ("session", "response"):
        other = model_in(fields, name)
        if other is not None and other != model:
            raise InvalidField(
                f"The model of a session cannot change: it is '{model}'. Use another session for '{other}'.",
                param=f"{name}.model",
            )
        if other is not None:
            return name
    return None


def with_model(fields: dict[str, msgspec.Raw], name: str, model: str) -> bytes:
    """Write an event with the upstream's name for the model.

    :param name: the object that has ``model``; empty: it is at the top.
    """
    written = msgspec.Raw(msgspec.json.encode(model))
    if not name:
        return msgspec.json.encode({**fields, "model": written})
    inner = {**_decode_fields(fields[name]), "model": written}
    return msgspec.json.encode({**fields, name: msgspec.Raw(msgspec.json.encode(inner))})


def error_event(operation: Operation, error: GatewayError, event_id: str | None = None) -> bytes:
    """Word an error as an event of the session.

    :param event_id: of the caller's event that is at fault, if it had one.
    """
    fields = envelope(error)["error"]
    if operation is Operation.REALTIME:
        return msgspec.json.encode({"type": ERROR, "error": {**fields, "event_id": event_id}})
    # Codex reads the status and the headers, as it would those of an HTTP answer.
    return msgspec.json.encode(
        {"type": ERROR, "status": error.status, "error": fields, "headers": error_headers(error)}
    )
