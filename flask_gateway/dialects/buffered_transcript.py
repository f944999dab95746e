"""Buffers a stream until it is complete, so that after any fault the call can be retried elsewhere."""

from __future__ import annotations

from ..model.call import Usage
from ..model.errors import GatewayError, UpstreamMalformed
from .rewritten import RewrittenStream
from .stream_transcript import StreamTranscript

#: The largest stream that is buffered, bytes.
MAX_WHOLE = 40 * 1024 * 1024


class BufferedTranscript:
    """A stream that is passed on only when it is complete. Until then a fault can be retried elsewhere."""

    content_type = "text/event-stream; charset=utf-8"

    def __init__(self, events: StreamTranscript | RewrittenStream, upstream: str) -> None:
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
    def ping(self) -> bytes:
        return self._events.ping

    @property
    def begun(self) -> bool:
        return self._events.begun

    @property
    def usage(self) -> Usage | None:
        return self._events.usage if self.ready else None

    @property
    def dropped(self) -> int:
        return self._events.dropped

    postpones = False

    def catch_up(self) -> bytes:
        """Return nothing: only a thread that may block waits for a buffered stream."""
        return b""

    def feed(self, data: bytes) -> bytes:
        return self._hold(self._events.feed(data))

    def end(self) -> bytes:
        return self._hold(self._events.end())

    def restate(self, data: bytes) -> bytes:
        """Hold what the events' transcript has passed already."""
        assert isinstance(self._events, RewrittenStream)
        return self._hold(self._events.restate(data))

    def cut(self, error: GatewayError) -> bytes:
        """Return the error alone. The buffered events are dropped: the caller's answer was lost."""
        self._held.clear()
        return self._events.cut(error)

    def _hold(self, data: bytes) -> bytes:
        self._size += len(data)
        if self._size > MAX_WHOLE:
            raise UpstreamMalformed(
                f"Upstream '{self._upstream}' streamed more than the {MAX_WHOLE} bytes that are buffered. "
                "Send the header 'x-gateway-stream: live' to read such an answer as it comes.",
                upstream=self._upstream,
            )
        self._held.append(data)
        self.ready = self.finished
        return b"".join(self._held) if self.ready else b""
