"""Answers that are compressed although none was asked for so: unpacked as they arrive, within bounds.

A proxy in front of an upstream may compress whatever passes it. What an answer unpacks to is bounded by its
transcript, and each step by :data:`PIECE`.
"""

from __future__ import annotations

import zlib

from ...model.errors import UpstreamCut, UpstreamMalformed
from .client import ResponseSource

#: The most that one step gives, bytes.
PIECE = 65536
#: The codings that are understood, and what else servers write that changes nothing.
_GZIP, _DEFLATE = ("gzip", "x-gzip"), ("deflate",)
_UNKNOWN = ("br", "zstd", "compress", "x-compress")
#: How an answer begins that is not compressed, whatever its head says.
_PLAIN = (b'{"', b"{ ", b"{\r", b"{\n", b"[{", b"da", b"ev", b": ", b"id")


def unpacked(source: ResponseSource, codings: str, upstream: str) -> ResponseSource:
    """The source, or one that gives what its bytes unpack to.

    :param codings: the answer's ``Content-Encoding``.
    :raises UpstreamMalformed: it is compressed in a way that is not understood.
    """
    for coding in reversed([one.strip().lower() for one in codings.split(",")][:2]):
        if coding in _UNKNOWN:
            message = f"Upstream '{upstream}' answered with a body in '{coding}', which was not asked for."
            raise UpstreamMalformed(message, upstream=upstream)
        if coding in _GZIP + _DEFLATE:
            source = UnpackedSource(source, Unpacker(raw=coding in _DEFLATE), upstream)
    return source


class Unpacker:
    """Bytes in, bytes out (sans-IO).

    :param raw: whether what is no gzip may be a bare deflate stream, as some servers send for ``deflate``.
    """

    def __init__(self, *, raw: bool) -> None:
        self._raw = raw
        self._input = b""
        self._plain = False
        self._inflate: zlib._Decompress | None = None
        #: Whether one stream has ended. In gzip another may follow.
        self._ended = False
        #: Whether the last step gave all that it may, so that more may be had without more input.
        self._full = False

    @property
    def holds(self) -> bool:
        """Whether there may be more to be taken."""
        return self._full or bool(self._input and (self._plain or self._inflate))

    @property
    def over(self) -> bool:
        """Whether it may end here."""
        return self._plain or (self._inflate is None and (self._ended or not self._input))

    def feed(self, data: bytes) -> None:
        self._input += data
        self._begin()

    def take(self) -> bytes:
        """The next bytes; none when more input is needed.

        :raises zlib.error: the bytes are no such stream.
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
        """Find out what the bytes are, at the beginning of them."""
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
            self._input = b""  # what follows is nobody's
        elif first & 15 == zlib.DEFLATED and (first << 8 | second) % 31 == 0:
            self._inflate = zlib.decompressobj()
        elif self._raw and self._input[:2] not in _PLAIN:
            self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        else:
            self._plain = True


class UnpackedSource(ResponseSource):
    """The body of a compressed answer, as it was before (``reply.Source``, ``reply.Channel``)."""

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
            message = f"Upstream '{self._upstream}' sent a compressed body that cannot be unpacked."
            raise UpstreamMalformed(message, upstream=self._upstream) from None

    def _end(self) -> bytes:
        if not self._unpacker.over:
            message = f"Upstream '{self._upstream}' broke off in the middle of its answer."
            raise UpstreamCut(message, upstream=self._upstream)
        return b""
