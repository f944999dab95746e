"""What an upstream's answer says, read as its bytes pass: is it good, is it complete, what did it cost.

Two transcripts, one for a body that is one JSON document and one for a stream of events, both sans-IO
(``reply.Transcript``), so that any driver may feed them: a thread, a test, a selector loop.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..core import Operation, Usage
from ..errors import GatewayError, UpstreamCut, UpstreamError, UpstreamMalformed
from ..reply import Transcript
from .dialects import DIALECTS, Dialect, read_usage
from .sse import EventSplitter, data_of

#: The largest answer that is collected before it is passed on, bytes.
MAX_BODY = 32 * 1024 * 1024
#: Events without content are held back until content follows, at most this many ...
MAX_HELD_EVENTS = 64
#: ... and at most this many bytes.
MAX_HELD_BYTES = 256 * 1024

DONE = b"data: [DONE]\n\n"


def transcript_for(operation: Operation, stream: bool, upstream: str) -> Transcript:
    """The transcript of an answer to ``operation`` from the upstream of that name."""
    if stream:
        return EventTranscript(DIALECTS[operation], upstream)
    return BodyTranscript(operation, upstream)


_NULL = msgspec.Raw(b"null")


class _Body(msgspec.Struct):
    choices: msgspec.Raw = _NULL
    data: msgspec.Raw = _NULL
    error: Any = None
    usage: Any = None


_decode_body = msgspec.json.Decoder(_Body).decode

#: Without this field the answer is none.
_REQUIRED = {Operation.CHAT: "choices", Operation.COMPLETION: "choices", Operation.EMBEDDING: "data"}


class BodyTranscript:
    """An answer in one JSON document: nothing passes before all of it has been seen to be one."""

    content_type = "application/json"
    finished = False

    def __init__(self, operation: Operation, upstream: str) -> None:
        self.ready = False
        self.usage: Usage | None = None
        self._required = _REQUIRED.get(operation)
        self._upstream = upstream
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> bytes:
        self._size += len(data)
        if self._size > MAX_BODY:
            raise self._malformed(f"more than {MAX_BODY} bytes")
        self._parts.append(data)
        return b""

    def end(self) -> bytes:
        body = b"".join(self._parts)
        try:
            body.decode()  # the fields we skip are not checked by the decoder
            seen = _decode_body(body)
        except (ValueError, RecursionError):
            raise self._malformed("a body that is not a JSON object in UTF-8") from None
        if seen.error is not None and seen.choices == seen.data == _NULL:
            raise reported_error(seen.error, self._upstream)
        if self._required and getattr(seen, self._required) == _NULL:
            raise self._malformed(f"no '{self._required}'")
        self.usage = read_usage(seen.usage)
        self.ready = True
        return body

    def cut(self, error: GatewayError) -> bytes:
        """Nothing: this kind of answer is passed on whole or not at all."""
        return b""

    def _malformed(self, what: str) -> UpstreamMalformed:
        message = f"Upstream '{self._upstream}' answered 200 with {what}, which is no answer to this request."
        return UpstreamMalformed(message, upstream=self._upstream)


class EventTranscript:
    """An answer in server-sent events, passed on event by event and unchanged.

    Held back until the first event with content, so that an error behind an empty opening still
    finds the caller uncommitted. Complete means that the model said so (a finish reason, or the
    dialect's own last event), not that the socket closed.
    """

    content_type = "text/event-stream; charset=utf-8"

    def __init__(self, dialect: Dialect, upstream: str) -> None:
        self.ready = False
        self.finished = False
        self.usage: Usage | None = None
        #: Events that were no JSON and were left out.
        self.dropped = 0
        self._events = 0
        self._bytes = 0
        self._reader = dialect.reader()
        self._dialect = dialect
        self._upstream = upstream
        self._splitter = EventSplitter()

    def feed(self, data: bytes) -> bytes:
        try:
            events = self._splitter.feed(data)
        except UpstreamMalformed as error:
            raise self._malformed(error.message) from None
        return b"".join([self._pass(event) for event in events])

    def end(self) -> bytes:
        rest = self._splitter.rest()
        out = self._pass(rest) if rest else b""
        if self.finished:
            return out
        if not self._reader.complete:
            raise UpstreamCut(
                f"Upstream '{self._upstream}' closed the stream before the answer was complete.",
                upstream=self._upstream,
            )
        self.ready = self.finished = True
        return out + DONE if self._dialect.ends_in_done else out

    def cut(self, error: GatewayError) -> bytes:
        return self._dialect.error_event(error)

    def _pass(self, event: bytes) -> bytes:
        """What of this event the caller gets to see."""
        if self.finished:
            return b""
        data = data_of(event)
        if data is None:
            return event + b"\n\n" if self.ready else b""
        if data.strip() == b"[DONE]":
            return self._done()
        try:
            data.decode()
            content = self._reader.read(data)
        except (ValueError, RecursionError):
            self.dropped += 1
            return b""
        if self._reader.error is not None:
            raise reported_error(self._reader.error, self._upstream)
        self.usage = self._reader.usage or self.usage
        self._events += 1
        self._bytes += len(event)
        if content or self._events > MAX_HELD_EVENTS or self._bytes > MAX_HELD_BYTES:
            self.ready = True
        if self._reader.complete and not self._dialect.ends_in_done:
            self.finished = True
        return event + b"\n\n"

    def _done(self) -> bytes:
        # Some servers give no finish reason. But an end to a stream that said nothing is no answer.
        if not (self._reader.complete or self.ready):
            raise UpstreamCut(
                f"Upstream '{self._upstream}' ended the stream without an answer in it.",
                upstream=self._upstream,
            )
        self.ready = self.finished = True
        return DONE

    def _malformed(self, what: str) -> UpstreamMalformed:
        return UpstreamMalformed(
            f"Upstream '{self._upstream}' broke the stream: {what}.", upstream=self._upstream
        )


def reported_error(said: object, upstream: str) -> UpstreamError:
    """An upstream that answers 200 and an error object has failed, whatever the status says.

    Its own words stay out of the message: they are not about the caller's request, and may tell of
    the upstream's insides. Its code is worth having.
    """
    code = said.get("code") or said.get("type") if isinstance(said, dict) else None
    named = f" ({str(code)[:64]})" if code else ""
    return UpstreamError(f"Upstream '{upstream}' reported an error{named} in its answer.", upstream=upstream)
