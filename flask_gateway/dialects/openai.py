"""The dialect of the OpenAI API: its paths, the ends of its streams, and its words for errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ..model.call import DIRECT, MEDIA, OPENAI, PICTURES, Operation
from ..model.errors import GatewayError, UpstreamRefusal
from .chunks import ChoiceReader
from .dialect import Dialect, Reader
from .media_events import MediaReader
from .response_events import ResponseReader
from .sse import MAX_EVENT

#: The largest event of the Responses API, bytes. Its last event repeats the whole answer, pictures included.
MAX_RESPONSE_EVENT = 2 * MAX_EVENT
#: The last event of a stream of chunks.
DONE = b"data: [DONE]\n\n"
#: An SSE comment: every SSE parser ignores it.
PING_EVENT = b": ping\n\n"


def envelope(error: GatewayError, request_id: str = "") -> dict[str, Any]:
    """Word an error as OpenAI's error object. A refusal by the upstream keeps the upstream's own words.

    :param request_id: not used: the API has no field for it.
    """
    if isinstance(error, UpstreamRefusal):
        missing = {"message": error.message, "type": "invalid_request_error", "param": None}
        return {"error": {**missing, **error.error_object, "code": error.code}}
    return {"error": {"message": error.message, "type": error.type, "param": error.param, "code": error.code}}


def chat_error_event(error: GatewayError, reader: Reader | None) -> bytes:
    """Write an error into a stream that has begun. The SDKs raise on any event with an ``error`` field."""
    return b"data: " + msgspec.json.encode(envelope(error)) + b"\n\n"


def response_error_event(error: GatewayError, reader: Reader | None) -> bytes:
    """Write an error into a stream of the Responses API: ``response.failed``, then ``error``.

    Codex looks for the first event, the openai SDKs raise on the second.
    """
    if isinstance(reader, ResponseReader):
        return failed_events(error, reader.response, reader.next_number)
    return failed_events(error, {}, 0)


def failed_events(error: GatewayError, known: Mapping[str, Any], number: int) -> bytes:
    """Word an error as the last events of a stream of the Responses API.

    :param known: the fields that name the response. :param number: the next ``sequence_number``.
    """
    fields = envelope(error)["error"]
    flat = {name: fields.get(name) for name in ("code", "message", "param")}
    failure = {"code": fields.get("code") or "server_error", "message": fields.get("message")}
    failed = {
        **known,
        "object": "response",
        "status": "failed",
        "output": [],
        "usage": None,
        "error": failure,
    }
    events = (
        {"type": "response.failed", "sequence_number": number, "response": failed},
        {"type": "error", "sequence_number": number + 1, **flat, "error": fields},
    )
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (str(event["type"]).encode(), msgspec.json.encode(event))
        for event in events
    )


def _choices(operation: Operation) -> Dialect:
    """An operation that does not stream is read as chat, should a caller ask for a stream."""
    return Dialect(str(operation), ChoiceReader, envelope, chat_error_event, DONE, PING_EVENT)


def _media(operation: Operation) -> Dialect:
    """An operation on sound or pictures. Its streams end with an event of their own kind."""
    largest = MAX_RESPONSE_EVENT if operation in PICTURES else MAX_EVENT
    return Dialect(str(operation), MediaReader, envelope, chat_error_event, b"", PING_EVENT, largest)


#: The operations that are sessions over WebSocket. Each response of one is recorded at its path.
SESSION_DIALECTS = {
    Operation.REALTIME: Dialect("realtime", ResponseReader, envelope, response_error_event, b"", PING_EVENT),
    Operation.RESPONSE_SESSION: Dialect(
        "responses", ResponseReader, envelope, response_error_event, b"", PING_EVENT
    ),
}
#: Every other operation of the API.
DIALECTS = {operation: _choices(operation) for operation in OPENAI} | {
    Operation.RESPONSE: Dialect(
        "responses",
        ResponseReader,
        envelope,
        response_error_event,
        ending=b"",
        ping=PING_EVENT,
        max_event=MAX_RESPONSE_EVENT,
    ),
    **{operation: _media(operation) for operation in MEDIA},
    **{operation: _choices(operation) for operation in DIRECT},
}
