"""The dialects of a stream: which event carries content, which one ends it, how an error is said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple, Protocol

import msgspec

from ..core import Operation, Usage
from ..errors import GatewayError
from .usage import Tally


class Reader(Protocol):
    """Reads the events of one stream, in order.

    ``usage_only`` and ``usage_null`` are about the event that was read last: it tells the usage and
    nothing else, or it has a ``usage`` field with nothing in it.
    """

    complete: bool
    usage: Usage | None
    error: object
    #: Counts what the model says.
    tally: Tally
    usage_only: bool
    usage_null: bool

    def read(self, data: bytes) -> bool:
        """Whether this event carries content. ``ValueError`` when it is no JSON object."""
        ...


class Dialect(NamedTuple):
    """How one operation streams."""

    reader: Callable[[], Reader]
    ends_in_done: bool
    error_event: Callable[[GatewayError], bytes]


_Count = Annotated[int, msgspec.Meta(ge=0)]


class _Usage(msgspec.Struct):
    """Chat and responses name the same two numbers differently."""

    prompt_tokens: _Count = 0
    completion_tokens: _Count = 0
    input_tokens: _Count = 0
    output_tokens: _Count = 0
    prompt_tokens_details: dict[str, Any] | None = None
    input_tokens_details: dict[str, Any] | None = None


def read_usage(said: object) -> Usage | None:
    """The upstream's ``usage`` object; ``None`` when it has none that can be read, or that counts nothing."""
    if said is None:
        return None
    try:
        usage = msgspec.convert(said, _Usage)
    except msgspec.ValidationError:
        return None
    if not (usage.prompt_tokens or usage.completion_tokens or usage.input_tokens or usage.output_tokens):
        return None
    details = usage.prompt_tokens_details or usage.input_tokens_details or {}
    cached = details.get("cached_tokens")
    return Usage(
        prompt_tokens=usage.prompt_tokens or usage.input_tokens,
        completion_tokens=usage.completion_tokens or usage.output_tokens,
        cached_tokens=cached if isinstance(cached, int) else 0,
    )


class _Choice(msgspec.Struct):
    index: int = 0
    delta: dict[str, Any] | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: Any = msgspec.UNSET
    error: Any = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_any = msgspec.json.Decoder(dict[str, Any]).decode


class ChoiceReader:
    """Chat and text completions: choices with deltas, each ended by its finish reason."""

    __slots__ = ("_open", "complete", "error", "tally", "usage", "usage_null", "usage_only")

    def __init__(self) -> None:
        self.complete = False
        self.usage: Usage | None = None
        self.error: object = None
        self.tally = Tally()
        self.usage_only = self.usage_null = False
        self._open: set[int] = set()

    def read(self, data: bytes) -> bool:
        try:
            chunk = _decode_chunk(data)
        except msgspec.ValidationError:
            _decode_any(data)  # JSON, though not of the usual shape: not ours to judge, it passes
            self.usage_only = self.usage_null = False
            return True
        self.error = chunk.error or None
        usage = chunk.usage
        self.usage_null, self.usage_only = usage is None, False
        if usage is not None and usage is not msgspec.UNSET:
            self.usage_only = not chunk.choices
            self.usage = read_usage(usage) or self.usage
        content = False
        for choice in chunk.choices or ():
            content = self._read_choice(choice) or content
        return content

    def _read_choice(self, choice: _Choice) -> bool:
        content = False
        if choice.text:
            self.tally.add(choice.text)
            content = True
        if choice.delta:
            for name, value in choice.delta.items():
                if value and name != "role":
                    content = True
                    if type(value) is str:  # as it nearly always is
                        self.tally.add(value)
                    else:
                        self.tally.add_all(value)
        if choice.finish_reason is not None:
            self._open.discard(choice.index)
            self.complete = not self._open
            return True
        self._open.add(choice.index)
        self.complete = False
        return content


class _Event(msgspec.Struct):
    type: str = ""
    delta: Any = None
    response: dict[str, Any] | None = None
    error: Any = None


_decode_event = msgspec.json.Decoder(_Event).decode

_RESPONSE_OPENING = frozenset({"response.created", "response.queued", "response.in_progress"})
_RESPONSE_END = frozenset({"response.completed", "response.incomplete", "response.failed"})


class ResponseReader:
    """The Responses API: typed events, the last of them with the whole response in it."""

    usage_only = usage_null = False  # it tells the usage in its last event, unasked

    def __init__(self) -> None:
        self.complete = False
        self.usage: Usage | None = None
        self.error: object = None
        self.tally = Tally()

    def read(self, data: bytes) -> bool:
        try:
            event = _decode_event(data)
        except msgspec.ValidationError:
            _decode_any(data)
            return True
        if event.type == "error" or event.error:
            self.error = event.error or {"code": "error"}
        elif event.type in _RESPONSE_END:
            self.complete = True
            self.usage = read_usage((event.response or {}).get("usage"))
        elif isinstance(event.delta, str):
            self.tally.add(event.delta)
        return event.type not in _RESPONSE_OPENING


def chat_error_event(error: GatewayError) -> bytes:
    """An error in a stream that has begun: the SDKs raise on any event with an ``error`` in it."""
    return b"data: " + msgspec.json.encode(error.envelope()) + b"\n\n"


def response_error_event(error: GatewayError) -> bytes:
    """The same in the Responses API, whose error event has its fields at the top as well."""
    envelope = error.envelope()
    flat = {name: envelope["error"].get(name) for name in ("code", "message", "param")}
    return b"event: error\ndata: " + msgspec.json.encode({"type": "error", **flat, **envelope}) + b"\n\n"


_CHOICES = Dialect(ChoiceReader, ends_in_done=True, error_event=chat_error_event)

#: Operations that do not stream upstream are read as chat, should a caller ask them to.
DIALECTS = dict.fromkeys(Operation, _CHOICES) | {
    Operation.RESPONSE: Dialect(ResponseReader, ends_in_done=False, error_event=response_error_event)
}


def error_event(operation: Operation, error: GatewayError) -> bytes:
    """The last event of a stream of that operation, when it ends with an error."""
    return DIALECTS[operation].error_event(error)
