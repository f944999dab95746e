"""Passes an answer in one API on in another: a transcript around the transcript of the upstream's API.

The inner transcript decides whether the answer is good, complete, and what it cost. The rewriter only says
the same in the caller's API. Sans-IO (``model.transcript.Transcript``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..model.call import Usage
from ..model.errors import GatewayError, UpstreamError
from ..model.source import Postponed
from ..model.transcript import Around
from .body_transcript import BodyTranscript
from .dialect import Dialect
from .sse import EventSplitter, data_of, named
from .stream_transcript import StreamTranscript
from .translations.translation import AnswerRewriter

#: Words an error for the caller's API.
Refusal = Callable[[UpstreamError], UpstreamError]


class RewrittenBody:
    """An answer in one JSON document, rewritten when it is complete."""

    content_type = "application/json"
    finished = complete = postpones = False
    dropped = 0
    ping = b""

    def __init__(self, inner: BodyTranscript, rewriter: AnswerRewriter, refusal: Refusal) -> None:
        self.ready = False
        self._inner = inner
        self._rewriter = rewriter
        self._refusal = refusal

    @property
    def usage(self) -> Usage | None:
        return self._inner.usage

    def feed(self, data: bytes) -> bytes:
        return self._inner.feed(data)

    def end(self) -> bytes:
        try:
            body = self._rewriter.body(self._inner.end(), self._inner.usage)
        except UpstreamError as error:
            raise self._refusal(error) from None
        self.ready = True
        return body

    def restate(self, data: bytes) -> bytes:
        """Rewrite a document that the inner transcript has passed already."""
        self.ready = True
        return self._rewriter.body(data, self._inner.usage) if data else b""

    def catch_up(self) -> bytes:
        """Return nothing: no event is postponed."""
        return b""

    def cut(self, error: GatewayError) -> bytes:
        """Return nothing: a document is passed on as a whole or not at all."""
        return b""


class RewrittenStream(Around[StreamTranscript]):
    """An answer in server-sent events, rewritten event by event.

    :param dialect: the upstream's. :param face: the caller's.
    """

    content_type = "text/event-stream; charset=utf-8"

    __slots__ = ("_due", "_ended", "_ping", "_refusal", "_rewriter", "_splitter", "_unsent")

    def __init__(
        self,
        inner: StreamTranscript,
        rewriter: AnswerRewriter,
        refusal: Refusal,
        dialect: Dialect,
        face: Dialect,
    ) -> None:
        super().__init__(inner)
        self._rewriter = rewriter
        self._refusal = refusal
        self._ping = face.ping
        self._splitter = EventSplitter(dialect.max_event)
        self._ended = False
        #: Events before a fault that came with it. :meth:`cut` still passes them on.
        self._unsent: list[bytes] = []
        #: Events that :meth:`catch_up` returns before the last ones; ``None``: nothing was postponed.
        self._due: bytes | None = None

    @property
    def begun(self) -> bool:
        return self._inner.begun

    @property
    def ping(self) -> bytes:
        return self._ping

    def feed(self, data: bytes) -> bytes:
        try:
            out = self._inner.feed(data)
        except UpstreamError as error:
            raise self._refusal(error) from None
        return self._rewritten(out)

    def end(self) -> bytes:
        try:
            out = self._inner.end()
        except UpstreamError as error:
            raise self._refusal(error) from None
        return self._rewritten(out)

    def catch_up(self) -> bytes:
        if self._due is not None:
            due, self._due = self._due, None
            return due + self._last()
        try:
            out = self._inner.catch_up()
        except UpstreamError as error:
            raise self._refusal(error) from None
        return self.restate(out)

    def restate(self, data: bytes) -> bytes:
        """Rewrite whole events that the inner transcript has passed. It may take long."""
        return self._events(data) + (self._last() if self._inner.finished else b"")

    def cut(self, error: GatewayError) -> bytes:
        unsent, self._unsent = self._unsent, []
        try:
            unsent.append(self._events(self._inner.take_unsent()))
        except UpstreamError:  # the error to report is the first one
            unsent += self._unsent
        return b"".join(unsent) + self._rewriter.cut(error)

    def _rewritten(self, out: bytes) -> bytes:
        if not self._inner.finished:
            return self._events(out) if out else b""
        events = self._events(out)
        if self._inner.postpones and self._inner.counts_request:
            self._due = events
            raise Postponed
        return events + self._last()

    def _last(self) -> bytes:
        """The last events, once."""
        if self._ended:
            return b""
        self._ended = True
        return self._rewriter.end(self._inner.usage)

    def _events(self, out: bytes) -> bytes:
        payload = self._splitter.single_event(out)
        if payload is not None:
            return b"" if payload == b"[DONE]" else self._rewriter.event(payload)
        return self._each(map(_data, self._splitter.feed(out)))

    def _each(self, payloads: Iterable[bytes | None]) -> bytes:
        parts: list[bytes] = []
        try:
            for data in payloads:
                if data is not None and data.strip() != b"[DONE]":
                    parts.append(self._rewriter.event(data))
        except UpstreamError:
            self._unsent = parts
            raise
        return b"".join(parts)


def _data(event: bytes) -> bytes | None:
    pair = named(event)
    return data_of(event) if pair is None else pair[1]
