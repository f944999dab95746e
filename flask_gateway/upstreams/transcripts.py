"""What an upstream's answer says, read as its bytes pass: is it good, is it complete, what did it cost.

Three transcripts: for a body that is one JSON document, for a stream of events, and for a stream that is
to be held back until it is complete. All are sans-IO (``reply.Transcript``), so that any driver may feed
them: a thread, a test, a selector loop.
"""

from __future__ import annotations

from ..core import Call, Usage
from ..errors import GatewayError, UpstreamCut, UpstreamMalformed
from .body import BodyTranscript
from .dialects import DIALECTS
from .sse import EventSplitter, data_of
from .status import reported_error
from .usage import estimate, without_null_usage

#: Events without content are held back until content follows, at most this many ...
MAX_HELD_EVENTS = 64
#: ... and at most this many bytes.
MAX_HELD_BYTES = 256 * 1024
#: A stream that is longer than this, bytes, has run wild.
MAX_STREAM = 256 * 1024 * 1024
#: The largest stream that is held back until it is complete, bytes.
MAX_WHOLE = 8 * 1024 * 1024

DONE = b"data: [DONE]\n\n"


def transcript_for(
    call: Call, upstream: str, *, hides_usage: bool = False
) -> BodyTranscript | EventTranscript | WholeTranscript:
    """The transcript of an answer to ``call`` from the upstream of that name.

    :param hides_usage: the caller did not ask for its stream's usage, we did.
    """
    if not call.stream:
        return BodyTranscript(call, upstream)
    events = EventTranscript(call, upstream, hides_usage=hides_usage)
    return WholeTranscript(events, upstream) if call.whole else events


class EventTranscript:
    """An answer in server-sent events, passed on event by event and unchanged.

    Held back until the first event with content, so that an error behind an empty opening still
    finds the caller uncommitted. Complete means that the model said so (a finish reason, or the
    dialect's own last event), not that the socket closed.
    """

    content_type = "text/event-stream; charset=utf-8"

    __slots__ = (
        "__weakref__",
        "_bytes",
        "_call",
        "_dialect",
        "_held_bytes",
        "_held_events",
        "_hides_usage",
        "_reader",
        "_splitter",
        "_unsent",
        "_upstream",
        "dropped",
        "finished",
        "ready",
    )

    def __init__(self, call: Call, upstream: str, *, hides_usage: bool = False) -> None:
        self.ready = False
        self.finished = False
        #: Events that were no JSON and were left out.
        self.dropped = 0
        self._bytes = self._held_events = self._held_bytes = 0
        self._dialect = DIALECTS[call.operation]
        self._reader = self._dialect.reader()
        self._call = call
        self._upstream = upstream
        self._hides_usage = hides_usage
        self._splitter = EventSplitter()
        #: What came with a fault, before it, and can be passed on yet.
        self._unsent = b""

    @property
    def complete(self) -> bool:
        return self._reader.complete

    @property
    def begun(self) -> bool:
        """Whether the model has said something."""
        return self.ready

    @property
    def usage(self) -> Usage | None:
        """As reported, else estimated from what was passed on; ``None`` while nothing was."""
        if self._reader.usage is not None or not self.ready:
            return self._reader.usage
        return estimate(self._call.fields, self._reader.tally)

    def feed(self, data: bytes) -> bytes:
        self._bytes += len(data)
        if self._bytes > MAX_STREAM:
            raise self._malformed(f"it is longer than {MAX_STREAM} bytes")
        said = self._splitter.only(data)
        if said is not None:
            return b"" if self.finished else self._pass_data(data, said)
        try:
            events = self._splitter.feed(data)
        except UpstreamMalformed as error:
            raise self._malformed(error.message) from None
        return self._pass_all(events)

    def end(self) -> bytes:
        rest = self._splitter.rest().rstrip(b"\r\n")
        # Data without its blank line is worth a look; half a comment, or half a field's name, is not.
        return self._pass_all([rest] if rest and data_of(rest) else [], over=True)

    def cut(self, error: GatewayError) -> bytes:
        unsent, self._unsent = self._unsent, b""
        return unsent + self._dialect.error_event(error)

    def _pass_all(self, events: list[bytes], *, over: bool = False) -> bytes:
        committed, parts = self.ready, []
        try:
            for event in events:
                parts.append(self._pass(event))
            if over:
                parts.append(self._close())
        except GatewayError:
            # A caller who is to see the fault is to see all before it, however the bytes were cut. One
            # who has seen nothing can still be given another answer, as if this one had never begun.
            self._unsent = b"".join(parts) if committed else b""
            self.ready = committed
            raise
        return b"".join(parts)

    def _close(self) -> bytes:
        """The bytes are over."""
        if self.finished:
            return b""
        if not self._reader.complete:
            raise UpstreamCut(
                f"Upstream '{self._upstream}' closed the stream before the answer was complete.",
                upstream=self._upstream,
            )
        self.ready = self.finished = True
        return DONE if self._dialect.ends_in_done else b""

    def _pass(self, event: bytes) -> bytes:
        """What of this event the caller gets to see."""
        if self.finished:
            return b""
        event, data = event + b"\n\n", data_of(event)
        if data is None:
            return event if self.ready else b""
        return self._pass_data(event, data)

    def _pass_data(self, event: bytes, data: bytes) -> bytes:
        """:param event: with the blank line. :param data: what it says."""
        if data[:1] != b"{" and data.strip() == b"[DONE]":
            return self._done()
        reader = self._reader
        try:
            data.isascii() or data.decode()  # what the decoder of JSON skips it does not check
            content = reader.read(data)
        except (ValueError, RecursionError):
            self.dropped += 1
            return b""
        if reader.error is not None:
            raise reported_error(reader.error, self._upstream)
        if not self.ready:
            self._held_events += 1
            self._held_bytes += len(event)
            self.ready = content or self._held_events > MAX_HELD_EVENTS or self._held_bytes > MAX_HELD_BYTES
        if reader.complete and not self._dialect.ends_in_done:
            self.finished = True
        if self._hides_usage and (reader.usage_only or reader.usage_null):
            return without_null_usage(event[:-2], data) + b"\n\n" if reader.usage_null else b""
        return event

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


class WholeTranscript:
    """A stream of which nothing passes before all of it has come, so that any fault can be made good."""

    content_type = EventTranscript.content_type

    def __init__(self, events: EventTranscript, upstream: str) -> None:
        self.ready = False
        self._events = events
        self._upstream = upstream
        self._held: list[bytes] = []
        self._size = 0

    @property
    def finished(self) -> bool:
        return self._events.finished

    @property
    def complete(self) -> bool:
        return self._events.complete

    @property
    def begun(self) -> bool:
        return self._events.begun

    @property
    def usage(self) -> Usage | None:
        return self._events.usage if self.ready else None

    def feed(self, data: bytes) -> bytes:
        return self._hold(self._events.feed(data))

    def end(self) -> bytes:
        return self._hold(self._events.end())

    def cut(self, error: GatewayError) -> bytes:
        """The error alone: what was held is not for a caller whose answer was lost."""
        self._held.clear()
        return self._events.cut(error)

    def _hold(self, data: bytes) -> bytes:
        self._size += len(data)
        if self._size > MAX_WHOLE:
            raise UpstreamMalformed(
                f"Upstream '{self._upstream}' streamed more than the {MAX_WHOLE} bytes that are held back.",
                upstream=self._upstream,
            )
        self._held.append(data)
        self.ready = self.finished
        return b"".join(self._held) if self.ready else b""
