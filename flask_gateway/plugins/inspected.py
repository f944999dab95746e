"""Passes an answer through inspections: a transcript around the transcript.

It is sans-IO and gets whole events, so it makes no difference how the bytes were cut. An event in which no
text changes passes as it is. Nothing of a stream passes before its first inspected text: until then a block
is an error with its own status.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from ..dialects.dialect import Dialect
from ..dialects.sse import EventSplitter, comment_of, data_of, with_data
from ..dialects.table import dialect_of
from ..model.call import Call, Operation
from ..model.errors import GatewayError
from ..model.large_json import taking_turns
from ..model.source import Postponed
from ..model.transcript import Around, Transcript
from .chat_texts import ChatTexts
from .gemini_texts import GeminiTexts
from .inspections import Inspections
from .message_texts import MessageTexts
from .response_texts import ResponseTexts
from .texts import AnswerTexts, Document

_TEXTS: Mapping[Operation, Callable[[Inspections], AnswerTexts]] = {
    Operation.CHAT: ChatTexts,
    Operation.COMPLETION: ChatTexts,
    Operation.MESSAGE: MessageTexts,
    Operation.RESPONSE: ResponseTexts,
    Operation.GENERATE: GeminiTexts,
}
_DONE = b"[DONE]"


def inspected(
    call: Call, inner: Transcript, inspections: Inspections
) -> InspectedStream | InspectedBody | None:
    """The transcript around that of an answer; ``None`` if answers to this operation have no texts."""
    texts = _TEXTS.get(call.operation)
    if texts is None:
        return None
    if call.stream:
        return InspectedStream(inner, texts(inspections), inspections, dialect_of(call.operation))
    return InspectedBody(inner, texts(inspections), inspections)


class InspectedBody(Around[Transcript]):
    """An answer in one JSON document. It passes when it is complete."""

    def __init__(self, inner: Transcript, texts: AnswerTexts, inspections: Inspections) -> None:
        super().__init__(inner)
        self._texts, self._inspections = texts, inspections
        self._parts: list[bytes] = []

    def feed(self, data: bytes) -> bytes:
        self._parts.append(self._inner.feed(data))
        return self._all() if self._inner.finished else b""

    def end(self) -> bytes:
        self._parts.append(self._inner.end())
        return self._all()

    def catch_up(self) -> bytes:
        """Return nothing: no event is postponed."""
        return b""

    def restate(self, data: bytes) -> bytes:
        """Inspect a document that the inner transcript has passed already."""
        self._parts.append(data)
        return self._all()

    def _all(self) -> bytes:
        """:raises GatewayError: the answer is blocked, or a plugin failed and fails closed."""
        body, self._parts = b"".join(self._parts), []
        if not body:
            return b""
        with taking_turns(len(body)):
            document = _decoded(body)
            if document is None:
                self._inspections.unreadable()
                return body
            self._texts.body(document)
            return msgspec.json.encode(document) if self._texts.changed else body


class InspectedStream(Around[Transcript]):
    """An answer in server-sent events.

    :param dialect: of the caller's API.
    """

    __slots__ = ("_due", "_inspections", "_names", "_over", "_splitter", "_texts", "_unsent")

    def __init__(
        self, inner: Transcript, texts: AnswerTexts, inspections: Inspections, dialect: Dialect
    ) -> None:
        super().__init__(inner)
        self._texts, self._inspections = texts, inspections
        self._splitter = EventSplitter(dialect.max_event)
        self._over = False
        #: Events before a fault that came with it. :meth:`cut` still passes them on.
        self._unsent = b""
        #: The events that :meth:`catch_up` inspects, as the thread of all streams must not wait.
        self._due = b""

    @property
    def ready(self) -> bool:
        """Whether an inspected text has passed, or all has: until then an error can have its own status."""
        return self._inner.ready and (self._inspections.passed or self._over)

    def feed(self, data: bytes) -> bytes:
        out = self._inner.feed(data)
        if out and self._inner.postpones and self._inspections.delays:
            self._due = out
            raise Postponed
        return self._inspected(out)

    def end(self) -> bytes:
        out = self._inspected(self._inner.end())
        return out + self._rest()

    def catch_up(self) -> bytes:
        if self._due:
            due, self._due = self._due, b""
            return self._inspected(due)
        return self._inspected(self._inner.catch_up())

    def restate(self, data: bytes) -> bytes:
        """Inspect events that the inner transcript has passed already."""
        return self._inspected(data)

    def cut(self, error: GatewayError) -> bytes:
        unsent, self._unsent = self._unsent, b""
        self._over = True  # what is held back is lost with the rest
        try:
            return unsent + self._inspected(self._inner.cut(error))
        except GatewayError:  # the error to report is the first one
            return unsent + self._inner.cut(error)

    def _inspected(self, out: bytes) -> bytes:
        parts: list[bytes] = []
        try:
            if out:
                payload = self._splitter.single_event(out)
                if payload is not None:
                    self._event(out[:-2], payload, parts)
                else:
                    for event in self._splitter.feed(out):
                        self._event(event, data_of(event), parts)
            if self._inner.finished:
                parts.append(self._rest())
        except GatewayError:
            self._unsent = b"".join(parts) if self.ready else b""
            raise
        return b"".join(parts)

    def _event(self, event: bytes, data: bytes | None, parts: list[bytes]) -> None:
        """Append what to send for an event. :param data: of it; ``None``: it has none."""
        if data is None:
            parts.append(comment_of(event))
            return
        if data.strip() == _DONE:
            parts += (self._rest(), event, b"\n\n")
            return
        document = _decoded(data)
        if document is None:
            return  # an event that is no JSON cannot be inspected: it is left out
        before = self._texts.event(document)
        parts += map(_written, before)
        if self._texts.changed:
            event = with_data(event, msgspec.json.encode(document))
        parts += (event, b"\n\n")

    def _rest(self) -> bytes:
        """The events with what is still held back, once."""
        if self._over:
            return b""
        self._over = True
        return b"".join(map(_written, self._texts.rest()))


def _decoded(data: bytes) -> Document | None:
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (ValueError, RecursionError):
        return None


def _written(document: Document) -> bytes:
    """An event of its own. Those of most APIs repeat their type as their name."""
    data = b"data: " + msgspec.json.encode(document) + b"\n\n"
    kind = document.get("type")
    return f"event: {kind}\n".encode() + data if isinstance(kind, str) else data
