"""Passes an answer as it comes, unread: one about a stored response, or one of a raw path."""

from __future__ import annotations

from ..model.errors import SEND_AGAIN, GatewayError, UpstreamMalformed
from ..model.transcript import Passing
from .redaction import Redaction

#: The largest answer, bytes.
MAX_PASSED = 1024 * 1024 * 1024
#: The content types that pass. A page that a browser would show is not among them.
_TYPES = frozenset(
    {
        "application/json",
        "application/jsonl",
        "application/x-ndjson",
        "text/event-stream",
        "text/plain",
        "text/csv",
        "audio/mpeg",
        "audio/wav",
        "image/png",
        "image/jpeg",
        "image/webp",
        "video/mp4",
    }
)


def passed_type(content_type: str | None) -> str:
    """The content type of the answer to the caller."""
    kind = (content_type or "").partition(";")[0].strip().lower()
    if kind not in _TYPES:
        return "application/octet-stream"
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind


class PassedTranscript(Passing):
    """An answer of which nothing is read (``model.transcript.Transcript``).

    It has no error event: after a cut the caller's connection is closed.
    """

    usage = None
    ping = b""
    begun = True

    def __init__(self, upstream: str, content_type: str | None, redaction: Redaction | None) -> None:
        self.content_type = passed_type(content_type)
        self._upstream = upstream
        self._redaction = redaction
        self._size = 0

    def feed(self, data: bytes) -> bytes:
        """:raises UpstreamMalformed: the answer is too large."""
        self._size += len(data)
        if self._size > MAX_PASSED:
            message = f"Upstream '{self._upstream}' answered with more than {MAX_PASSED} bytes. {SEND_AGAIN}"
            raise UpstreamMalformed(message, upstream=self._upstream)
        return data if self._redaction is None else self._redaction.redact(data)

    def cut(self, error: GatewayError) -> bytes:
        """Return nothing: the caller's connection is closed instead."""
        return b""
