"""Decompresses answers that are compressed although the request did not allow it.

A proxy in front of an upstream may compress everything. The transcript bounds the decompressed size of an
answer, and :data:`PIECE` bounds each step.
"""

from __future__ import annotations

import zlib

from ...model.errors import SEND_AGAIN, TELL_OPERATOR, UpstreamCut, UpstreamMalformed
from .client import ResponseSource

#: The most that one step returns, bytes.
PIECE = 65536
#: The codings that are understood, and those that are refused. Any other value changes nothing.
_GZIP, _DEFLATE = ("gzip", "x-gzip"), ("deflate",)
_UNKNOWN = ("br", "zstd", "compress", "x-compress")
#: The first bytes of an answer that is not compressed, whatever its head says.
_PLAIN = (b'{"', b"{ ", b"{\r", b"{\n", b"[{", b"da", b"ev", b": ", b"id")


def unpacked(source: ResponseSource, codings: str, upstream: str) -> ResponseSource:
    """Return the source, or one that decompresses it.

    :param codings: the answer's ``Content-Encoding``.
    :raises UpstreamMalformed: the coding is not supported.
    """
    for coding in reversed([coding_name.strip().lower() for coding_name in codings.split(",")][:2]):
        if coding in _UNKNOWN:
            message = f"Upstream '{upstream}' answered with a body in '{coding}', which was not asked for."
            raise UpstreamMalformed(f"{message} {TELL_OPERATOR}", upstream=upstream)
        if coding in _GZIP + _DEFLATE:
            source = UnpackedSource(source, Unpacker(raw=coding in _DEFLATE), upstream)
    return source


class Unpacker:
    """Decompresses gzip and deflate. Sans-IO: bytes in, bytes out.

    :param raw: whether bytes without a header may be a bare deflate stream, which some servers send for
        ``deflate``.
    """

    def __init__(self, *, raw: bool) -> None:
        self._raw = raw
        self._input = b""
        self._plain = False
        self._inflate: zlib._Decompress | None = None
        #: Whether one stream has ended. In gzip another may follow (RFC 1952, section 2.2).
        self._ended = False
        #: Whether the last step returned a full piece, so that the next one may need no more input.
        self._full = False

    @property
    def holds(self) -> bool:
        """Whether :meth:`take` may return bytes without more input."""
        return self._full or bool(self._input and (self._plain or self._inflate))

    @property
    def over(self) -> bool:
        """Whether the bytes may end here."""
        return self._plain or (self._inflate is None and (self._ended or not self._input))

    def feed(self, data: bytes) -> None:
        self._input += data
        self._begin()

    def take(self) -> bytes:
        """Return the next bytes; none when more input is needed.

        :raises zlib.error: the compressed bytes are invalid.
        """
        if self._plain:
            data, self._input = self._input, b""
            return data
        while self._inflate is not None and (self._input or self._full):
            data = self._inflate.decompress(self._input, PIECE)
            self._input, self._full = self._inflate.unconsumed_tail, len(data) == PIECE
            if self._inflate.eof:
                self._input, self._inflate = self._inflate.unused_data, None
                self._full, self._ended = False, True
                self._begin()
            if data:
                return data
        return b""

    def _begin(self) -> None:
        """Detect the coding by the first two bytes."""
        if self._inflate is not None or self._plain:
            return
        if self._ended:
            self._input = self._input.lstrip(b"\0")
        if len(self._input) < 2:
            return
        first, second = self._input[:2]
        if self._input[:2] == b"\x1f\x8b":
            self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
        elif self._ended:
            self._input = b""  # drop bytes behind the end
        elif first & 15 == zlib.DEFLATED and (first << 8 | second) % 31 == 0:
            self._inflate = zlib.decompressobj()
        elif self._raw and self._input[:2] not in _PLAIN:
            self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        else:
            self._plain = True


class UnpackedSource(ResponseSource):
    """Reads the decompressed body of an answer (``model.source.Source``, ``model.source.Channel``)."""

    __slots__ = ("_packed", "_unpacker", "_upstream")

    def __init__(self, packed: ResponseSource, unpacker: Unpacker, upstream: str) -> None:
        super().__init__(packed.response, packed._exchange)
        self._packed = packed
        self._unpacker = unpacker
        self._upstream = upstream

    def read(self) -> bytes:
        while True:
            if data := self._take():
                return data
            data = self._packed.read()
            if not data:
                return self._end()
            self._unpacker.feed(data)

    def receive(self) -> bytes | None:
        if data := self._take():
            return data
        received = self._packed.receive()
        if received is None:
            return None
        if not received:
            return self._end()
        self._unpacker.feed(received)
        return self._take() or None

    @property
    def holds(self) -> bool:
        return self._unpacker.holds or self._packed.holds

    def _take(self) -> bytes:
        try:
            return self._unpacker.take()
        except zlib.error:
            message = (
                f"Upstream '{self._upstream}' sent a compressed body that cannot be unpacked. {SEND_AGAIN}"
            )
            raise UpstreamMalformed(message, upstream=self._upstream) from None

    def _end(self) -> bytes:
        if not self._unpacker.over:
            message = f"Upstream '{self._upstream}' broke off in the middle of its answer. {SEND_AGAIN}"
            raise UpstreamCut(message, upstream=self._upstream)
        return b""
