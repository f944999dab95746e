"""The dialects of a stream: which event carries content, which one ends it, how an error is said."""

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

#: The largest event of the Responses API, bytes: its last one has the whole answer in it, pictures and all.
MAX_RESPONSE_EVENT = 2 * MAX_EVENT


class Reader(Protocol):
    """Reads the events of one stream, in order.

    :ivar complete: each choice that was asked for has ended.
    :ivar ended_in_content: the event that ended it carried content too, so more may follow.
    :ivar error: what the event that was read last reports as an error, as raw as it stands.
    :ivar tally: counts what the model says.
    :ivar usage_only: the event that was read last tells the usage and nothing else.
    :ivar usage_null: it has a ``usage`` field with nothing in it.
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
        """Whether ``[DONE]`` ends an answer that is not complete by its finish reasons."""
        ...

    def read(self, data: bytes) -> bool:
        """Whether this event carries content. ``ValueError`` when it is no JSON object."""
        ...

    def read_object(self, said: Any) -> bool:
        """The same for JSON that has been read already."""
        ...


class Dialect(NamedTuple):
    """How one operation streams."""

    reader: Callable[[Call], Reader]
    ends_in_done: bool
    #: The last events of a stream that ends with an error, given who has read it, if anybody.
    error_event: Callable[[GatewayError, Reader | None], bytes]
    max_event: int = MAX_EVENT


def chat_error_event(error: GatewayError, reader: Reader | None) -> bytes:
    """An error in a stream that has begun: the SDKs raise on any event with an ``error`` in it."""
    return b"data: " + msgspec.json.encode(error.envelope()) + b"\n\n"


def response_error_event(error: GatewayError, reader: Reader | None) -> bytes:
    """The same in the Responses API: the response has failed, then the error.

    Codex looks for the first of the two events, the openai SDKs raise on the second.
    """
    told = error.envelope()["error"]
    flat = {name: told.get(name) for name in ("code", "message", "param")}
    known: dict[str, Any] = {}
    number = 0
    if isinstance(reader, ResponseReader):
        known, number = reader.response, reader.next_number
    failure = {"code": told.get("code") or "server_error", "message": told.get("message")}
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
        {"type": "error", "sequence_number": number + 1, **flat, "error": told},
    )
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (str(event["type"]).encode(), msgspec.json.encode(event))
        for event in events
    )


_CHOICES = Dialect(ChoiceReader, ends_in_done=True, error_event=chat_error_event)

#: Operations that do not stream upstream are read as chat, should a caller ask them to.
DIALECTS = dict.fromkeys(Operation, _CHOICES) | {
    Operation.RESPONSE: Dialect(
        ResponseReader, ends_in_done=False, error_event=response_error_event, max_event=MAX_RESPONSE_EVENT
    )
}


def error_event(operation: Operation, error: GatewayError) -> bytes:
    """The last events of a stream of that operation, when it ends with an error before it has begun."""
    return DIALECTS[operation].error_event(error, None)
