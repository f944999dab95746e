"""Splits a byte stream into server-sent events (WHATWG HTML, section 9.2), and reads and edits their lines.

Lines end in LF, CRLF or CR. A blank line ends an event. A line that begins with a colon is a comment.
Sans-IO: bytes in, events out.
"""

from __future__ import annotations

import re

from ..model.errors import UpstreamMalformed

#: The largest event accepted, bytes. One event may hold a picture of some megabytes.
MAX_EVENT = 16 * 1024 * 1024
#: At most this many bytes are collected of input that begins like no event and no document.
MAX_ODD = 64 * 1024
#: The largest event that takes the fast path, bytes. A larger one may be bulky.
MAX_SINGLE = 64 * 1024
#: The most lines of an event.
MAX_LINES = 100_000

# Atomic groups: without them "\r\n" would match as the two line ends CR and LF.
_BLANK_LINE = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_BOM = b"\xef\xbb\xbf"
_BEGINNINGS = (b"data", b"event", b"id", b"retry", b"error", b":", b"{", b"[", b"<")
_TO_LINE_END = re.compile(rb"[^\r\n]*")


class EventSplitter:
    """Collects bytes and returns whole events, each without the blank line that ends it."""

    __slots__ = ("_at_start", "_buffer", "_max_event", "_max_single", "_only_lf", "_plain", "_scanned")

    def __init__(self, max_event: int = MAX_EVENT) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._max_event = max_event
        self._max_single = min(max_event, MAX_SINGLE)
        self._only_lf = True
        self._at_start = True
        #: Whether no earlier byte affects the next event, and all lines have ended in LF.
        self._plain = False

    def feed(self, data: bytes) -> list[bytes]:
        """Return the events that ``data`` completes.

        :raises UpstreamMalformed: an event grows beyond the limit.
        """
        # Fast path: whole events. A third line end in a row might belong to the next event.
        if data.endswith(b"\n\n") and not data.endswith(b"\n\n\n") and self._stands_alone(data):
            return [event for part in data[:-2].split(b"\n\n") if (event := part.lstrip(b"\n"))]
        self._buffer += data
        if self._at_start:
            if len(self._buffer) < len(_BOM) and _BOM.startswith(self._buffer):
                return []
            self._at_start = False
            if self._buffer.startswith(_BOM):
                del self._buffer[: len(_BOM)]
        self._only_lf = self._only_lf and b"\r" not in data
        events = []
        while (end := self._next_blank_line()) is not None:
            event = self._cut_out(*end)
            if event:
                events.append(event)
        self._plain = self._only_lf and not self._buffer
        if len(self._buffer) > min(MAX_ODD, self._max_event):
            self._check_size()
        return events

    def _check_size(self) -> None:
        if len(self._buffer) > self._max_event:
            raise UpstreamMalformed(f"an event is larger than {self._max_event} bytes")
        if not self._buffer.startswith(_BEGINNINGS) and self._buffer[:64].strip():
            raise UpstreamMalformed(f"more than {MAX_ODD} bytes that are no event")

    def single_event(self, data: bytes) -> bytes | None:
        """Return the data of an event that is exactly these bytes: one ``data`` line and its blank line.

        That is the usual case. The bytes must then not be fed. ``None`` in all other cases: feed them.

        This is called once per event, so :meth:`_stands_alone` is inlined. ``find`` takes half as long as
        ``in``.
        """
        size = len(data)
        if (
            self._plain
            and data[:6] == b"data: "
            and data[-2:] == b"\n\n"
            and data.find(b"\n") == size - 2
            and data.find(b"\r") < 0
            and size <= self._max_single
        ):
            return data[6:-2]
        return None

    def _stands_alone(self, data: bytes) -> bool:
        """Whether no earlier byte affects these events, and all lines end in LF."""
        return self._plain and b"\r" not in data and len(data) <= self._max_event

    def leave_fast_path(self) -> None:
        """Disable :meth:`single_event` for the next event: an earlier event affects it."""
        self._plain = False

    def rest(self) -> bytes:
        """Return what is left when the bytes are over: an event whose blank line never came, or nothing."""
        return self._cut_out(len(self._buffer), len(self._buffer))

    def _next_blank_line(self) -> tuple[int, int] | None:
        start = max(0, self._scanned - 3)
        self._scanned = len(self._buffer)
        if self._only_lf:
            at = self._buffer.find(b"\n\n", start)
            return (at, at + 2) if at >= 0 else None
        match = _BLANK_LINE.search(self._buffer, start)
        return match.span() if match else None

    def _cut_out(self, end: int, resume: int) -> bytes:
        with memoryview(self._buffer) as view:
            event = bytes(view[:end])
        del self._buffer[:resume]
        self._scanned = 0
        # Blank lines before an event mean nothing. An LF here may also belong to a CRLF whose CR came in the
        # previous read and already ended the last event.
        return event.lstrip(b"\r\n")


def data_of(event: bytes) -> bytes | None:
    """Return the joined ``data`` lines of an event; ``None`` when it has none (a comment, say)."""
    if event.startswith(b"data:") and b"\n" not in event and b"\r" not in event:
        return _value(event)
    lines = [_value(line) for line in event.splitlines() if line.startswith(b"data:") or line == b"data"]
    return b"\n".join(lines) if lines else None


def _value(line: bytes) -> bytes:
    value = line[5:]
    return value[1:] if value.startswith(b" ") else value


def name_of(event: bytes) -> bytes:
    """Return the value of an event's ``event`` line; nothing when it has none."""
    at = _line(event, b"event:")
    match = _TO_LINE_END.match(event, at + len(b"event:")) if at >= 0 else None
    return match[0].strip() if match else b""


def _line(event: bytes, start: bytes) -> int:
    """Return where the line with this start begins, or -1. Copies nothing: an event may have megabytes."""
    if event.startswith(start):
        return 0
    at = event.find(b"\n" + start)
    at = event.find(b"\r" + start) if at < 0 else at
    return at + 1 if at >= 0 else -1


def named(event: bytes) -> tuple[bytes, bytes] | None:
    """Return name and data of an event that is one line of each, as in the Responses API; else ``None``."""
    if event[:6] != b"event:":
        return None
    at = event.find(b"\n")
    if event[at + 1 : at + 7] != b"data: " or event.find(b"\n", at + 1) >= 0 or b"\r" in event:
        return None
    return event[6:at].strip(), event[at + 7 :]


def comment_of(event: bytes) -> bytes:
    """Return the comments of an event as an event of their own; nothing when there are none."""
    lines = [line for line in event.splitlines() if line.startswith(b":")]
    return b"\n".join(lines) + b"\n\n" if lines else b""


def without_id(event: bytes) -> bytes:
    """Remove the lines for clients that reconnect: ``id`` and ``retry``.

    After an ``id`` OpenAI's SDK reads every comment as an event, and stops at it.
    """
    if _line(event, b"id") < 0 and _line(event, b"retry") < 0:
        return event
    return b"\n".join(line for line in event.splitlines() if line.partition(b":")[0] not in (b"id", b"retry"))


def with_data(event: bytes, data: bytes) -> bytes:
    """Replace the data of an event. The new data must be one line."""
    lines = [line for line in event.splitlines() if line.partition(b":")[0] != b"data"]
    return b"\n".join([*lines, b"data: " + data])
