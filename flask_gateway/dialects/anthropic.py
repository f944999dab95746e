"""The dialect of Anthropic's API: its paths, the end of its streams, and its words for errors."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from ..model.call import ANTHROPIC, Operation
from ..model.errors import GatewayError
from . import openai
from .dialect import Dialect, Reader
from .message_events import MessageReader

#: The paths of the API.
is_path = re.compile(r"/+(?:anthropic/+)?(?:v1/+)*(?:messages|complete)(?:/.*)?", re.DOTALL).fullmatch

#: The last event of a complete stream.
STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
#: The SDKs skip it by its name. A comment would be no event, and some clients count events.
PING_EVENT = b'event: ping\ndata: {"type":"ping"}\n\n'

#: The status of an overloaded API.
OVERLOADED = 529

#: The error types by status. The API's clients know no others.
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def envelope(error: GatewayError, request_id: str = "") -> dict[str, Any]:
    """Word an error as Anthropic's error object. It keeps the fields that OpenAI's clients read."""
    other = "invalid_request_error" if error.status < 500 else "api_error"
    kind = _TYPES.get(error.status, other)
    if error.code == "upstream_overloaded":
        kind = "overloaded_error"
    fields = {**openai.envelope(error)["error"], "type": kind}
    return {"type": "error", "error": fields, **({"request_id": request_id} if request_id else {})}


def status_of(error: GatewayError) -> int:
    """The status of an error at the API's paths: an overloaded upstream is 529 there.

    https://docs.claude.com/en/api/errors
    """
    return OVERLOADED if error.code == "upstream_overloaded" else error.status


def error_event(error: GatewayError, reader: Reader | None) -> bytes:
    """Write an error into a stream that has begun. The SDKs raise on an event of this name."""
    return b"event: error\ndata: " + msgspec.json.encode(envelope(error)) + b"\n\n"


def _messages(operation: Operation) -> Dialect:
    return Dialect(str(operation), MessageReader, envelope, error_event, STOP, PING_EVENT)


#: Every operation of the API.
DIALECTS = {operation: _messages(operation) for operation in ANTHROPIC}
