"""Lists requests that two parsers could end at different bytes. RFC 9112, sections 2.2, 3, 5, 6, 7, 11.2.

Each contains a second request, the canary. Only a wrong parser sees it: the right one reads it as part of the
body.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

JSON = b'{"model":"mock","messages":[{"role":"user","content":"Hello"}]}'


class Verdict(Enum):
    #: One proper request, answered with 200.
    ANSWERED = "answered"
    #: No valid request or no valid body: never a 2xx.
    REFUSED = "refused"


class Case(NamedTuple):
    """The bytes of a connection, with placeholders ``KEY``, ``FIRST`` and ``CANARY``."""

    name: str
    sent: bytes
    verdict: Verdict = Verdict.REFUSED


CANARY = b"GET /v1/models HTTP/1.1\r\nHost: gateway\r\nX-API-Key: KEY\r\nX-Request-Id: CANARY\r\n\r\n"
HEAD = b"Host: gateway\r\nX-API-Key: KEY\r\nX-Request-Id: FIRST\r\nContent-Type: application/json\r\n"
LINE = b"POST /v1/chat/completions HTTP/1.1\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def _post(lines: bytes, body: bytes, line: bytes = LINE) -> bytes:
    return line + HEAD + lines + b"\r\n" + body


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (_size(data), data)


def _size(data: bytes) -> int:
    """The size after the placeholders are filled."""
    return len(fill(data, b"0" * KEY_LENGTH, ""))


KEY_LENGTH = len(b"live-caller-key")


def fill(data: bytes, key: bytes, name: str) -> bytes:
    """The bytes for the wire. All ids have the same length, so sizes are known in advance."""
    first, canary = f"first-{name:<40}".replace(" ", "-"), f"canary-{name:<40}".replace(" ", "-")
    return data.replace(b"KEY", key).replace(b"FIRST", first.encode()).replace(b"CANARY", canary.encode())


def _length(name: str, value: bytes, field: bytes = b"Content-Length: ") -> Case:
    """An invalid length. A parser that reads it as zero finds the canary."""
    size = b"%d" % _size(CANARY)
    return Case(f"length-{name}", _post(field + value.replace(b"N", size) + b"\r\n", CANARY))


def _coding(name: str, lines: bytes, line: bytes = LINE) -> Case:
    """A broken ``chunked`` next to a length. A parser that accepts it finds the canary."""
    body = b"0\r\n\r\n" + CANARY
    return Case(f"coding-{name}", _post(b"Content-Length: %d\r\n" % _size(body) + lines, body, line))


def _chunks(name: str, body: bytes) -> Case:
    return Case(f"chunks-{name}", _post(CHUNKED, body))


def _right(name: str, lines: bytes, body: bytes = JSON, line: bytes = LINE) -> Case:
    return Case(f"right-{name}", _post(lines, body, line), Verdict.ANSWERED)


N = b"%d" % len(JSON)
H2C = b"Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"
HIDDEN = b"Content-Length: %d\r\n" % _size(CANARY)

CASES = (
    # ---- lengths
    _length("plus", b"+N"),
    _length("minus", b"-N"),
    _length("minus-zero", b"-0"),
    _length("hex", b"0xN"),
    _length("letters", b"Nx"),
    _length("fraction", b"N.0"),
    _length("exponent", b"Ne0"),
    _length("underscore", b"0_N"),
    _length("inner-space", b"0 N"),
    _length("empty", b""),
    _length("huge", b"9" * 40),
    _length("full-width-digits", "\uff11\uff10".encode()),
    _length("form-feed", b"\x0cN"),
    _length("vertical-tab", b"N\x0b"),
    _length("nul", b"N\x00"),
    _length("quoted", b'"N"'),
    _length("list", b"N, N"),
    _length("list-differs", b"0, N"),
    _length("list-empty", b",N"),
    _length("twice-zero-first", b"0\r\nContent-Length: N"),
    _length("twice-zero-last", b"N\r\nContent-Length: 0"),
    _length("twice-equal", b"N\r\nContent-Length: N"),
    _length("folded", b"\r\n N"),
    _length("cr-cr-lf", b"N\r"),
    _length("space-in-name", b"N", b"Content-Length : "),
    _length("tab-in-name", b"N", b"Content-Length\t: "),
    _length("space-before-name", b"N", b" Content-Length: "),
    _length("nul-in-name", b"N", b"Content-\x00Length: "),
    _length("no-colon", b"N", b"Content-Length "),
    # ---- codings
    _coding("and-length", CHUNKED),
    _coding("and-length-capitals", b"TRANSFER-ENCODING: CHUNKED\r\n"),
    _coding("space-in-name", b"Transfer-Encoding : chunked\r\n"),
    _coding("space-before-name", b" Transfer-Encoding: chunked\r\n"),
    _coding("underscore", b"Transfer_Encoding: chunked\r\n"),
    _coding("folded", b"Transfer-Encoding:\r\n chunked\r\n"),
    _coding("vertical-tab", b"Transfer-Encoding: \x0bchunked\r\n"),
    _coding("quoted", b'Transfer-Encoding: "chunked"\r\n'),
    _coding("parameter", b"Transfer-Encoding: chunked;q=1\r\n"),
    _coding("unknown", b"Transfer-Encoding: xchunked\r\n"),
    _coding("identity", b"Transfer-Encoding: identity\r\n"),
    _coding("identity-chunked", b"Transfer-Encoding: identity, chunked\r\n"),
    _coding("chunked-identity", b"Transfer-Encoding: chunked, identity\r\n"),
    _coding("chunked-twice", CHUNKED + CHUNKED),
    _coding("gzip-chunked", b"Transfer-Encoding: gzip, chunked\r\n"),
    _coding("after-bare-lf", b"X: y\nTransfer-Encoding: chunked\r\n"),
    _coding("after-bare-cr", b"X: y\rTransfer-Encoding: chunked\r\n"),
    _coding("http-1.0", CHUNKED, b"POST /v1/chat/completions HTTP/1.0\r\n"),
    Case("coding-length-too-short", _post(CHUNKED + b"Content-Length: 4\r\n", _chunk(CANARY))),
    Case("coding-length-zero", _post(b"Content-Length: 0\r\n" + CHUNKED, _chunk(CANARY))),
    # ---- chunks
    _chunks("plus", b"+0\r\n\r\n" + CANARY),
    _chunks("minus", b"-1\r\n\r\n" + CANARY),
    _chunks("hex", b"0x0\r\n\r\n" + CANARY),
    _chunks("underscore", b"0_0\r\n\r\n" + CANARY),
    _chunks("no-size", b";x\r\n\r\n" + CANARY),
    _chunks("overflow", b"10000000000000000\r\n\r\n" + CANARY),
    _chunks("data-too-long", b"3\r\nabcdef\r\n0\r\n\r\n" + CANARY),
    _chunks("end-without-cr", b"3\nabc\n0\n\n" + CANARY),
    _chunks("extension-with-lf", b"3;\n2\r\nabc\r\n0\r\n\r\n" + CANARY),
    _chunks("extension-with-cr", b"3;\r2\r\nabc\r\n0\r\n\r\n" + CANARY),
    # ---- lines
    Case("line-bare-lf", _post(HIDDEN, CANARY, b"POST /v1/chat/completions HTTP/1.1\n")),
    Case("line-two-targets", _post(HIDDEN, CANARY, b"POST /a HTTP/1.1 /v1/chat/completions HTTP/1.1\r\n")),
    Case("line-nul", _post(HIDDEN, CANARY, b"POST /v1/chat\x00/completions HTTP/1.1\r\n")),
    Case("line-version-1.10", _post(HIDDEN, CANARY, b"POST /v1/chat/completions HTTP/1.10\r\n")),
    Case("line-connect", _post(HIDDEN, CANARY, b"CONNECT gateway:443 HTTP/1.1\r\n")),
    Case("line-http-0.9", b"GET /v1/models?FIRST\r\n" + CANARY),
    Case("line-http-2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + CANARY),
    Case("line-get-with-a-body", _post(HIDDEN, CANARY, b"GET /v1/chat/completions HTTP/1.1\r\n")),
    Case("host-twice", _post(HIDDEN + b"Host: other\r\n", CANARY)),
    Case(
        "upgrade-h2c",
        _post(HIDDEN + H2C, CANARY),
    ),
    Case("connection-names-the-length", _post(HIDDEN + b"Connection: Content-Length\r\n", CANARY)),
    # ---- unusual but valid
    _right("plain", b"Content-Length: " + N + b"\r\n"),
    _right("no-space", b"Content-Length:" + N + b"\r\n"),
    _right("spaces", b"Content-Length:   " + N + b"  \r\n"),
    _right("leading-zeros", b"Content-Length: 000" + N + b"\r\n"),
    _right("chunked", CHUNKED, _chunk(JSON)),
    _right("chunked-capitals", b"transfer-encoding: Chunked\r\n", _chunk(JSON)),
    _right("chunk-extension", CHUNKED, b"%x;a=b\r\n%b\r\n0;c\r\n\r\n" % (len(JSON), JSON)),
    _right("trailer", CHUNKED, b"%x\r\n%b\r\n0\r\nX-Trailer: CANARY\r\n\r\n" % (len(JSON), JSON)),
    _right("empty-line-first", b"Content-Length: " + N + b"\r\n", line=b"\r\n" + LINE),
    _right(
        "absolute-form",
        b"Content-Length: " + N + b"\r\n",
        line=b"POST http://other/v1/chat/completions HTTP/1.1\r\n",
    ),
    _right("expect", b"Expect: 100-continue\r\nContent-Length: " + N + b"\r\n"),
)
