"""Server-sent events, cut out of a byte stream however it arrives.

The format is the WHATWG HTML standard's, section 9.2: lines end in LF, CRLF or CR, a blank line ends
an event, lines that begin with a colon are comments. Sans-IO: bytes in, events out.
"""

from __future__ import annotations

import re

from ..model.errors import UpstreamMalformed

#: The largest event accepted, bytes. A picture of some megabytes comes in one.
MAX_EVENT = 16 * 1024 * 1024
#: What begins like no event and no document is not collected beyond this, bytes.
MAX_ODD = 64 * 1024
#: The most lines of an event.
MAX_LINES = 100_000

# Atomic groups: without them "\r\n" would match as the two line ends CR and LF.
_BLANK_LINE = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_BOM = b"\xef\xbb\xbf"
_BEGINNINGS = (b"data", b"event", b"id", b"retry", b"error", b":", b"{", b"[", b"<")
_TO_LINE_END = re.compile(rb"[^\r\n]*")


class EventSplitter:
    """Collects bytes and gives back whole events, each without the blank line that ends it."""

    __slots__ = ("_at_start", "_buffer", "_max_event", "_only_lf", "_plain", "_scanned")

    def __init__(self, max_event: int = MAX_EVENT) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._max_event = max_event
        self._only_lf = True
        self._at_start = True
        #: Whether nothing that has come matters to what comes next, and lines have ended in one way.
        self._plain = False

    def feed(self, data: bytes) -> list[bytes]:
        """The events that ``data`` completes.

        :raises UpstreamMalformed: an event grows beyond the limit.
        """
        # Whole events. A third line end in a row might be the next one's.
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
            event = self._take(*end)
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

    def only(self, data: bytes) -> bytes | None:
        """What :func:`data_of` says of the one event that these bytes are, as is mostly so: one line of data
        and the blank line, and nothing before them. They are then not to be fed. Else ``None``.

        Called once an event, so :meth:`_stands_alone` is written out here. To find a byte takes half as
        long as to ask whether it is ``in`` the data."""
        size = len(data)
        if (
            self._plain
            and data[:6] == b"data: "
            and data[-2:] == b"\n\n"
            and data.find(b"\n") == size - 2
            and data.find(b"\r") < 0
            and size <= self._max_event
        ):
            return data[6:-2]
        return None

    def _stands_alone(self, data: bytes) -> bool:
        """Whether nothing before it matters, and lines end in one way."""
        return self._plain and b"\r" not in data and len(data) <= self._max_event

    def look_closely(self) -> None:
        """What has come matters to what comes next: :meth:`only` does not apply to it."""
        self._plain = False

    def rest(self) -> bytes:
        """What is left when the bytes are over: an event whose blank line never came, or nothing."""
        return self._take(len(self._buffer), len(self._buffer))

    def _next_blank_line(self) -> tuple[int, int] | None:
        start = max(0, self._scanned - 3)
        self._scanned = len(self._buffer)
        if self._only_lf:
            at = self._buffer.find(b"\n\n", start)
            return (at, at + 2) if at >= 0 else None
        match = _BLANK_LINE.search(self._buffer, start)
        return match.span() if match else None

    def _take(self, end: int, resume: int) -> bytes:
        with memoryview(self._buffer) as view:
            event = bytes(view[:end])
        del self._buffer[:resume]
        self._scanned = 0
        # Blank lines before an event mean nothing. One may also be the LF of a CRLF whose CR came
        # with the bytes before and already ended the last event.
        return event.lstrip(b"\r\n")


def data_of(event: bytes) -> bytes | None:
    """The joined ``data`` lines of an event; ``None`` when it has none (a comment, say)."""
    if event.startswith(b"data:") and b"\n" not in event and b"\r" not in event:
        return _value(event)
    lines = [_value(line) for line in event.splitlines() if line.startswith(b"data:") or line == b"data"]
    return b"\n".join(lines) if lines else None


def _value(line: bytes) -> bytes:
    value = line[5:]
    return value[1:] if value.startswith(b" ") else value


def name_of(event: bytes) -> bytes:
    """The value of an event's ``event`` line; nothing when it has none."""
    at = _line(event, b"event:")
    found = _TO_LINE_END.match(event, at + len(b"event:")) if at >= 0 else None
    return found[0].strip() if found else b""


def _line(event: bytes, start: bytes) -> int:
    """Where the line begins that starts so; -1 without one. An event may have megabytes."""
    if event.startswith(start):
        return 0
    at = event.find(b"\n" + start)
    at = event.find(b"\r" + start) if at < 0 else at
    return at + 1 if at >= 0 else -1


def named(event: bytes) -> tuple[bytes, bytes] | None:
    """The name and the data of an event that is one line of each, as in the Responses API; else ``None``."""
    if event[:6] != b"event:":
        return None
    at = event.find(b"\n")
    if event[at + 1 : at + 7] != b"data: " or event.find(b"\n", at + 1) >= 0 or b"\r" in event:
        return None
    return event[6:at].strip(), event[at + 7 :]


def comment_of(event: bytes) -> bytes:
    """The comments in an event, as an event of their own; nothing when there are none."""
    lines = [line for line in event.splitlines() if line.startswith(b":")]
    return b"\n".join(lines) + b"\n\n" if lines else b""


def without_id(event: bytes) -> bytes:
    """The event without what it tells a client that reconnects: ``id`` and ``retry``.

    Behind an ``id`` OpenAI's SDK takes every comment for an event, and stops at it.
    """
    if _line(event, b"id") < 0 and _line(event, b"retry") < 0:
        return event
    return b"\n".join(line for line in event.splitlines() if line.partition(b":")[0] not in (b"id", b"retry"))


def with_data(event: bytes, data: bytes) -> bytes:
    """The event with other data, which has no line end in it."""
    lines = [line for line in event.splitlines() if line.partition(b":")[0] != b"data"]
    return b"\n".join([*lines, b"data: " + data])
