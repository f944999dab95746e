"""A stream that is held back until it is complete, so that any fault can be made good elsewhere."""

from __future__ import annotations

from ..model.call import Usage
from ..model.errors import GatewayError, UpstreamMalformed
from .stream_transcript import StreamTranscript

#: The largest stream that is held back until it is complete, bytes.
MAX_WHOLE = 40 * 1024 * 1024


class BufferedTranscript:
    """A stream of which nothing passes before all of it has come, so that any fault can be made good."""

    content_type = "text/event-stream; charset=utf-8"

    def __init__(self, events: StreamTranscript, upstream: str) -> None:
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

    @property
    def dropped(self) -> int:
        return self._events.dropped

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
