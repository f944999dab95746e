"""Defines what an API says in its own words: the paths of its operations, its streams, its errors.

An error keeps its class, code and status. Only a dialect words it. ``table.py`` has the entries.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from ..model.call import Call
from ..model.errors import GatewayError
from .reported_usage import ReportedUsage
from .sse import MAX_EVENT
from .usage import Tally


class Reader(Protocol):
    """Reads the events of one stream, in order.

    :ivar complete: each requested choice has ended.
    :ivar ended_in_content: the event that ended the last choice carried content too, so more may follow.
    :ivar finished: nothing follows the event that was read last.
    :ivar error: the error in the event that was read last, undecorated; ``None`` if it has none.
    :ivar tally: counts the model's text.
    :ivar usage_only: the event that was read last reports the usage and nothing else.
    :ivar usage_null: the event that was read last has ``"usage": null``.
    """

    complete: bool
    ended_in_content: bool
    finished: bool
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


#: Words an error as a JSON document, given the id of the request.
Envelope = Callable[[GatewayError, str], dict[str, Any]]


class Dialect(NamedTuple):
    """How one operation is called and how it answers.

    :param path: of the operation, below ``/v1/``.
    :param reader: makes the reader of a stream's events.
    :param envelope: words an error that is answered with its own status.
    :param error_event: words the last events of a stream that ends with an error. It gets the stream's
        reader, if any.
    :param ending: the last event of a complete stream; empty if the stream has none of its own.
    :param ping: what keeps a silent stream open. Every client ignores it.
    :param max_event: the largest event, bytes.
    """

    path: str
    reader: Callable[[Call], Reader]
    envelope: Envelope
    error_event: Callable[[GatewayError, Reader | None], bytes]
    ending: bytes
    ping: bytes
    max_event: int = MAX_EVENT
