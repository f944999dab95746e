"""Where an HTTP/1 answer's head ends and where its body does (RFC 9112). Sans-IO: bytes in, bytes out.

The server on the other side is one that the operator chose, so this reads what such servers send, and
refuses what could be read in two ways.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from http.client import HTTPException
from typing import NamedTuple, Protocol

#: The largest head, bytes, and the most header lines in it.
MAX_HEAD, MAX_HEADERS = 65536, 100
#: The longest line around chunks, and all the lines that may follow the last one, bytes.
MAX_LINE, MAX_TRAILERS = 4096, 65536

_END_OF_HEAD = re.compile(rb"\n\r?\n")
_STATUS_LINE = re.compile(r"HTTP/1\.([01]) ([1-9][0-9]{2})(?: (.*))?").fullmatch
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
#: Names as upstreams write them, and in lower case. More of them are not kept in mind.
_NAMES: dict[str, str] = {}
MOST_NAMES = 256
_LENGTH = re.compile(r"[0-9]{1,18}").fullmatch
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?").fullmatch


class MalformedResponse(HTTPException):
    """What came cannot be read as an answer."""


class CutShort(HTTPException):
    """The bytes were over before the answer was."""


class Head(NamedTuple):
    """The head of an answer. Names of headers are in lower case; one that came twice is joined by commas."""

    minor: int
    status: int
    reason: str
    headers: dict[str, str]


def end_of_head(data: bytes | bytearray, scanned: int = 0) -> int:
    """Where the head ends that ``data`` begins with; -1 while it has not.

    :param scanned: how many bytes an earlier look has seen.
    :raises NotHttp: it is too long.
    """
    match = _END_OF_HEAD.search(data, max(0, scanned - 3))
    end = match.end() if match else -1
    if max(end, len(data) if end < 0 else 0) > MAX_HEAD:
        raise MalformedResponse(f"a head of more than {MAX_HEAD} bytes")
    return end


def _name(said: str) -> str | None:
    """A header's name in lower case; ``None`` if it is none."""
    if not _NAME(said):
        return None
    name = said.lower()
    if len(_NAMES) < MOST_NAMES and len(said) <= 64:
        _NAMES[said] = name
    return name


def read_head(data: bytes | bytearray) -> Head:
    """A whole head, read.

    :raises NotHttp: it is none.
    """
    text = data.decode("latin-1").replace("\r\n", "\n")
    if "\r" in text or "\0" in text:  # some take the one for the end of a line, some the other
        raise MalformedResponse("a control character in the head")
    lines = text.split("\n")
    status = _STATUS_LINE(lines[0])
    if status is None:
        raise MalformedResponse("no status line")
    if len(lines) - 3 > MAX_HEADERS:
        raise MalformedResponse(f"more than {MAX_HEADERS} headers")
    headers: dict[str, str] = {}
    for line in lines[1:-2]:
        said, colon, value = line.partition(":")
        name = _NAMES.get(said) or _name(said) if colon else None
        if name is None:
            raise MalformedResponse("a line that is no header")
        value = value.strip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return Head(int(status[1]), int(status[2]), status[3] or "", headers)


class Framing(Protocol):
    """Finds the end of a body."""

    #: Whether the end has come.
    over: bool
    #: Whether the connection is good for another request; known when it is over.
    reusable: bool
    #: Why what came behind the bytes that were given last cannot be read.
    fault: MalformedResponse | None

    def feed(self, data: bytes) -> bytes:
        """What of these bytes belongs to the body."""
        ...

    def end(self) -> None:
        """The connection has been closed. Raises ``CutShort`` when that was too early."""
        ...


def framing_of(head: Head) -> Framing:
    """How the body behind this head ends (RFC 9112, section 6.3; the request was no HEAD or CONNECT).

    :raises NotHttp: it says so in two ways that differ.
    """
    headers, stays = head.headers, _stays_open(head)
    if head.status < 200 or head.status in (204, 304):
        return Sized(0, stays and head.status != 101)
    encoding = headers.get("transfer-encoding")
    if encoding is not None:
        if encoding.lower() != "chunked":
            raise MalformedResponse("a transfer encoding that nobody asked for")
        # With a length beside it, or in HTTP/1.0, who is right is anybody's guess: RFC 9112 has the
        # connection closed.
        return Chunked(stays and head.minor == 1 and "content-length" not in headers)
    if "content-length" not in headers:
        return UntilClosed()
    length = headers["content-length"]
    if "," in length:  # it may have come twice, and say the same
        length, *others = {value.strip() for value in length.split(",")}
        length = "" if others else length
    if not _LENGTH(length):
        raise MalformedResponse("no one length of the body")
    return Sized(int(length), stays)


def _stays_open(head: Head) -> bool:
    if "connection" not in head.headers:
        return head.minor == 1
    said = {word.strip() for word in head.headers["connection"].lower().split(",")}
    return "close" not in said and (head.minor == 1 or "keep-alive" in said)


class Sized:
    """A body whose length was told."""

    fault: MalformedResponse | None = None

    def __init__(self, length: int, stays: bool) -> None:
        self._left = length
        self.over = not length
        self.reusable = stays

    def feed(self, data: bytes) -> bytes:
        if len(data) > self._left:
            self.reusable = False  # an answer that nobody asked for follows
            data = data[: self._left]
        self._left -= len(data)
        self.over = not self._left
        return data

    def end(self) -> None:
        if not self.over:
            raise CutShort(f"{self._left} bytes are missing")


class UntilClosed:
    """A body that ends when the connection does: whether it is whole, only what it says can tell."""

    over = reusable = False
    fault: MalformedResponse | None = None

    def feed(self, data: bytes) -> bytes:
        return data

    def end(self) -> None:
        self.over = True


class Chunked:
    """A body in chunks (RFC 9112, section 7.1)."""

    __slots__ = ("__weakref__", "_held", "_left", "_next", "_trailers", "fault", "over", "reusable")

    def __init__(self, stays: bool) -> None:
        self.over = False
        self.reusable = stays
        self.fault: MalformedResponse | None = None
        self._held = b""
        #: Bytes to come of the chunk that is being read.
        self._left = 0
        #: What line comes next: a chunk's size, the empty one behind a chunk, or a trailer. No bound method:
        #: what knows itself is left to the collector of garbage.
        self._next: Callable[[Chunked, bytes], None] = Chunked._size
        self._trailers = 0

    def feed(self, data: bytes) -> bytes:
        if self._held:
            data, self._held = self._held + data, b""
        elif not self._left and self._next is Chunked._size:
            # One whole chunk, as events mostly come, its size written as it mostly is.
            end = data.find(b"\r\n", 0, 18)
            size = len(data) - end - 4
            if size > 0 and data[:end].lower() == b"%x" % size and data.endswith(b"\r\n"):
                return data[end + 2 : -2]
        parts: list[bytes] = []
        try:
            self._cut(data, parts)
        except (
            MalformedResponse
        ) as fault:  # what came before it is none the worse, however the bytes were cut
            self.fault = fault
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _cut(self, data: bytes, parts: list[bytes]) -> None:
        at = 0
        while at < len(data) and not self.over:
            if self._left:
                part = data[at : at + self._left]
                parts.append(part)
                at += len(part)
                self._left -= len(part)
                continue
            end = data.find(b"\n", at)
            line = data[at : end if end >= 0 else len(data)]
            if len(line) > MAX_LINE:
                raise MalformedResponse("a line between chunks that does not end")
            if end < 0:
                self._held = line
                return
            if not line.endswith(b"\r") or line.count(b"\r") > 1:
                raise MalformedResponse("a line between chunks that ends in two ways")
            self._next(self, line[:-1])
            at = end + 1
        if at < len(data):
            self.reusable = False  # an answer that nobody asked for follows

    def _size(self, line: bytes) -> None:
        size = _SIZE(line)
        if size is None:
            raise MalformedResponse("no size of a chunk")
        self._left = int(size[1], 16)
        self._next = Chunked._gap if self._left else Chunked._trailer

    def _gap(self, line: bytes) -> None:
        if line:
            raise MalformedResponse("a chunk longer than it said")
        self._next = Chunked._size

    def _trailer(self, line: bytes) -> None:
        self._trailers += len(line)
        if self._trailers > MAX_TRAILERS:
            raise MalformedResponse("trailers without end")
        self.over = not line

    def end(self) -> None:
        if not self.over:
            raise CutShort("the last chunk is missing")
