"""Maps each operation to its stream dialect: the reader of its events, its last event, its error event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import msgspec

from ..model.call import Call, Operation
from ..model.errors import GatewayError
from .chunks import ChoiceReader
from .reported_usage import ReportedUsage
from .response_events import ResponseReader
from .sse import MAX_EVENT
from .usage import Tally

#: The largest event of the Responses API, bytes. Its last event repeats the whole answer, pictures included.
MAX_RESPONSE_EVENT = 2 * MAX_EVENT


class Reader(Protocol):
    """Reads the events of one stream, in order.

    :ivar complete: each requested choice has ended.
    :ivar ended_in_content: the event that ended the last choice carried content too, so more may follow.
    :ivar error: the error in the event that was read last, undecorated; ``None`` if it has none.
    :ivar tally: counts the model's text.
    :ivar usage_only: the event that was read last reports the usage and nothing else.
    :ivar usage_null: the event that was read last has ``"usage": null``.
    """

    complete: bool
    ended_in_content: bool
    reported: ReportedUsage
    error: object
    tally: Tally
    usage_only: bool
    usage_null: bool

    @property
    def may_end(self) -> bool:
        """Whether ``[DONE]`` ends an answer whose finish reasons do not make it complete."""
        ...

    def read(self, data: bytes) -> bool:
        """Read an event. Return whether it carries content.

        :raises ValueError: it is no JSON object.
        """
        ...

    def read_object(self, document: Any) -> bool:
        """Like :meth:`read`, for JSON that has been decoded."""
        ...


class Dialect(NamedTuple):
    """How one operation streams."""

    reader: Callable[[Call], Reader]
    ends_in_done: bool
    #: Writes the last events of a stream that ends with an error. It gets the stream's reader, if any.
    error_event: Callable[[GatewayError, Reader | None], bytes]
    max_event: int = MAX_EVENT


def chat_error_event(error: GatewayError, reader: Reader | None) -> bytes:
    """Write an error into a stream that has begun. The SDKs raise on any event with an ``error`` field."""
    return b"data: " + msgspec.json.encode(error.envelope()) + b"\n\n"


def response_error_event(error: GatewayError, reader: Reader | None) -> bytes:
    """Write an error into a stream of the Responses API: ``response.failed``, then ``error``.

    Codex looks for the first event, the openai SDKs raise on the second.
    """
    fields = error.envelope()["error"]
    flat = {name: fields.get(name) for name in ("code", "message", "param")}
    known: dict[str, Any] = {}
    number = 0
    if isinstance(reader, ResponseReader):
        known, number = reader.response, reader.next_number
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


_CHOICES = Dialect(ChoiceReader, ends_in_done=True, error_event=chat_error_event)

#: An operation that does not stream is read as chat, should a caller ask for a stream.
DIALECTS = dict.fromkeys(Operation, _CHOICES) | {
    Operation.RESPONSE: Dialect(
        ResponseReader, ends_in_done=False, error_event=response_error_event, max_event=MAX_RESPONSE_EVENT
    )
}


def error_event(operation: Operation, error: GatewayError) -> bytes:
    """Write the events of a stream of that operation that ends with an error before it has begun."""
    return DIALECTS[operation].error_event(error, None)
