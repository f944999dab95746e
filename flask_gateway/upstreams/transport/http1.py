"""Parses the head of an HTTP/1 answer and finds the end of its body (RFC 9112). Sans-IO: bytes in, bytes out.

The operator chose the server on the other side, so this accepts what such servers send in practice. It
refuses answers that could be read in two ways.
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

#: RFC 9112, section 2.1: ``*( field-line CRLF ) CRLF``. Section 2.2 allows a bare LF as a line end.
_END_OF_HEAD = re.compile(rb"\n\r?\n")
#: RFC 9112, section 4: ``status-line = HTTP-version SP status-code SP [ reason-phrase ]``. Some servers omit
#: the second space. ``status-code = 3DIGIT``; RFC 9110, section 15: it is at least 100.
_STATUS_LINE = re.compile(r"HTTP/1\.([01]) ([1-9][0-9]{2})(?: (.*))?").fullmatch
#: RFC 9110, section 5.1: ``field-name = token``; section 5.6.2: ``token = 1*tchar``.
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
#: A cache: names as upstreams write them, and the same in lower case. It is full at ``MOST_NAMES``.
_NAMES: dict[str, str] = {}
MOST_NAMES = 256
#: RFC 9110, section 8.6: ``Content-Length = 1*DIGIT``.
_LENGTH = re.compile(r"[0-9]{1,18}").fullmatch
#: RFC 9112, section 7.1: ``chunk = chunk-size [ chunk-ext ] CRLF``, ``chunk-size = 1*HEXDIG``; section 7.1.1:
#: ``chunk-ext = *( BWS ";" BWS chunk-ext-name … )``. Extensions are ignored.
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?").fullmatch
#: Chunk sizes as most servers write them. Looking one up takes a fraction of formatting it.
_SIZES = tuple(b"%x" % size for size in range(1024))
_PREPARED = len(_SIZES)
_SIZE_OF = {written: size for size, written in enumerate(_SIZES) if size}


class MalformedResponse(HTTPException):
    """The bytes are no valid HTTP/1 answer."""


class TlsRecord(HTTPException):
    """TLS came instead of HTTP: the port expects TLS (RFC 8446, section 5.1)."""


class CutShort(HTTPException):
    """The connection was closed before the end of the answer."""


class Head(NamedTuple):
    """The head of an answer. Header names are in lower case. The values of a repeated header are joined by
    commas (RFC 9110, section 5.3)."""

    minor: int
    status: int
    reason: str
    headers: dict[str, str]


def end_of_head(data: bytes | bytearray, scanned: int = 0) -> int:
    """Return where the head at the beginning of ``data`` ends; -1 while its end has not come.

    :param scanned: how many bytes an earlier call has searched.
    :raises MalformedResponse: the head is too long.
    """
    match = _END_OF_HEAD.search(data, max(0, scanned - 3))
    end = match.end() if match else -1
    if max(end, len(data) if end < 0 else 0) > MAX_HEAD:
        raise MalformedResponse(f"a head of more than {MAX_HEAD} bytes")
    return end


def _lower_name(written: str) -> str | None:
    """Return a header's name in lower case; ``None`` when it is invalid."""
    if not _NAME(written):
        return None
    name = written.lower()
    if len(_NAMES) < MOST_NAMES and len(written) <= 64:
        _NAMES[written] = name
    return name


def read_head(data: bytes | bytearray) -> Head:
    """Parse a whole head.

    :raises MalformedResponse: it is invalid.
    """
    text = data.decode("latin-1").replace("\r\n", "\n")
    if "\r" in text or "\0" in text:  # parsers differ on them (RFC 9112, section 2.2; RFC 9110, section 5.5)
        raise MalformedResponse("a control character in the head")
    lines = text.split("\n")
    status = _STATUS_LINE(lines[0])
    if status is None:
        raise MalformedResponse("no status line")
    if len(lines) - 3 > MAX_HEADERS:
        raise MalformedResponse(f"more than {MAX_HEADERS} headers")
    return Head(int(status[1]), int(status[2]), status[3] or "", _read_headers(lines[1:-2]))


def _read_headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    try:  # the usual case: each name is known, and is there once
        for line in lines:
            written, value = line.split(":", 1)
            headers[_NAMES[written]] = value.strip(" \t")
    except (KeyError, ValueError):
        headers.clear()
    return headers if len(headers) == len(lines) else _read_any_headers(lines)


def _read_any_headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        written, colon, value = line.partition(":")
        name = _NAMES.get(written) or _lower_name(written) if colon else None
        if name is None:
            raise MalformedResponse("a line that is no header")
        value = value.strip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


class Framing(Protocol):
    """Finds the end of a body."""

    #: Whether the end of the body has come.
    over: bool
    #: Whether the connection can carry another request; valid when ``over`` is true.
    reusable: bool
    #: Why the bytes behind those that :meth:`feed` returned last are invalid; ``None`` while none are.
    fault: MalformedResponse | None

    def feed(self, data: bytes) -> bytes:
        """Return those of these bytes that belong to the body."""
        ...

    def end(self) -> None:
        """Note that the connection has been closed.

        :raises CutShort: the body is not over.
        """
        ...


def framing_of(head: Head) -> Framing:
    """Return the framing of the body behind this head (RFC 9112, section 6.3; not for HEAD or CONNECT).

    :raises MalformedResponse: the lengths differ, or a length or coding is not understood.
    """
    headers, stays = head.headers, _stays_open(head)
    if head.status == 101 and headers.get("upgrade", "").lower() == "websocket":
        return UntilClosed()  # from here on the connection is the WebSocket's
    if head.status < 200 or head.status in (204, 304):
        return Sized(0, stays and head.status != 101)
    encoding = headers.get("transfer-encoding")
    if encoding is not None:
        if encoding.lower() != "chunked":
            raise MalformedResponse("a transfer encoding that nobody asked for")
        # With a Content-Length as well, or in HTTP/1.0, the end of the body is ambiguous. RFC 9112, section
        # 6.1, requires that the connection is closed after it.
        return Chunked(stays and head.minor == 1 and "content-length" not in headers)
    if "content-length" not in headers:
        return UntilClosed()
    length = headers["content-length"]
    if "," in length:  # repeated equal values are valid (RFC 9112, section 6.3, rule 5)
        length, *others = {value.strip() for value in length.split(",")}
        length = "" if others else length
    if not _LENGTH(length):
        raise MalformedResponse("no one length of the body")
    return Sized(int(length), stays)


def _stays_open(head: Head) -> bool:
    """Whether the server keeps the connection open (RFC 9112, section 9.3)."""
    if "connection" not in head.headers:
        return head.minor == 1
    connection = head.headers["connection"].lower()
    if connection == "keep-alive":
        return True
    options = {word.strip() for word in connection.split(",")}
    return "close" not in options and (head.minor == 1 or "keep-alive" in options)


class Sized:
    """A body with a known length (``Content-Length``, or a status without a body)."""

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
    """A body that ends with the connection. Only its content can show whether it is complete."""

    over = reusable = False
    fault: MalformedResponse | None = None

    def feed(self, data: bytes) -> bytes:
        return data

    def end(self) -> None:
        self.over = True


def _whole_chunks(data: bytes, parts: list[bytes]) -> int:
    """Append the short chunks at the beginning that are whole and written as most servers do: a few of them
    come in one read when the gateway is busy. Return where the rest begins."""
    at = 0
    while True:
        end = data.find(b"\r\n", at, at + 5)
        size = _SIZE_OF.get(data[at:end], 0) if end > at else 0
        begin = end + 2
        stop = begin + size
        if not size or data[stop : stop + 2] != b"\r\n":
            return at
        parts.append(data[begin:stop])
        at = stop + 2


class Chunked:
    """A body in chunks (RFC 9112, section 7.1)."""

    __slots__ = ("__weakref__", "_held", "_left", "_next", "_trailers", "fault", "over", "reusable")

    def __init__(self, stays: bool) -> None:
        self.over = False
        self.reusable = stays
        self.fault: MalformedResponse | None = None
        self._held = b""
        #: Bytes of the current chunk that have not come.
        self._left = 0
        #: Reads the next line: a chunk's size, the empty line behind a chunk, or a trailer. It is no bound
        #: method, since that would be a reference cycle, which only the garbage collector frees.
        self._next: Callable[[Chunked, bytes], None] = Chunked._size
        self._trailers = 0

    def feed(self, data: bytes) -> bytes:
        if self._held:
            data, self._held = self._held + data, b""
        elif not self._left and self._next is Chunked._size:
            # Fast path: the data is exactly one chunk, its size written without zeros or extensions.
            end = data.find(b"\r\n", 0, 18)
            size = len(data) - end - 4
            written = _SIZES[size] if 0 < size < _PREPARED else b"%x" % size
            if size > 0 and data[:end].lower() == written and data.endswith(b"\r\n"):
                return data[end + 2 : -2]
        parts: list[bytes] = []
        at = 0 if self._left or self._next is not Chunked._size else _whole_chunks(data, parts)
        try:
            self._cut(data, at, parts)
        except MalformedResponse as fault:
            # The bytes before it are valid and are returned, however the reads were cut.
            self.fault = fault
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _cut(self, data: bytes, at: int, parts: list[bytes]) -> None:
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
