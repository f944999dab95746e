"""Decompresses request bodies (gzip, deflate, br, zstd) and limits their decompressed size.

Each library is imported when the first body needs it. Each library call yields at most 256 KiB and releases
the GIL while it works, so a large body blocks no other thread.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from io import BytesIO
from typing import Any, Protocol

from ..model.errors import BodyTooLarge, InvalidCompression, UnsupportedMediaType

#: The most that one library call reads and returns, bytes.
INPUT_STEP, OUTPUT_STEP = 65536, 262144
#: Codings applied to one body, one after another. Each may produce as many bytes as the body's limit.
MAX_CODINGS = 3
#: Members of a gzip body or frames of a zstd body in a row. bgzip makes one per 64 KiB.
MAX_MEMBERS = 4096
#: RFC 9659: a sender's zstd window is 8 MiB at most.
ZSTD_WINDOW_LOG = 23


class _Member(Protocol):
    """One compressed stream: a gzip member, a zstd frame, all of a br body."""

    def unpack(self, data: bytes) -> Iterator[bytes]:
        """Decompress ``data`` in steps."""

    @property
    def ended(self) -> bool: ...

    @property
    def rest(self) -> bytes:
        """The bytes after the stream's end."""


class _Zlib:
    """gzip, zlib and raw deflate; ``wbits`` as in :func:`zlib.decompressobj`."""

    def __init__(self, wbits: int) -> None:
        self._stream = zlib.decompressobj(wbits)

    def unpack(self, data: bytes) -> Iterator[bytes]:
        while True:
            unpacked = self._stream.decompress(data, OUTPUT_STEP)
            yield unpacked
            data = self._stream.unconsumed_tail
            # After a full step the library may hold more output, even if it has taken all input.
            if self.ended or not (data or len(unpacked) == OUTPUT_STEP):
                return

    @property
    def ended(self) -> bool:
        return self._stream.eof

    @property
    def rest(self) -> bytes:
        return self._stream.unused_data


class _Deflate:
    """``deflate``: RFC 9110 requires the zlib format, but many senders omit the zlib header."""

    def __init__(self) -> None:
        self._first = b""
        self._stream: _Zlib | None = None

    def unpack(self, data: bytes) -> Iterator[bytes]:
        if self._stream is None:
            self._first += data
            if len(self._first) < 2:
                return
            data, self._first = self._first, b""
            has_header = data[0] & 15 == 8 and int.from_bytes(data[:2], "big") % 31 == 0
            self._stream = _Zlib(zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)
        yield from self._stream.unpack(data)

    @property
    def ended(self) -> bool:
        return self._stream is not None and self._stream.ended

    @property
    def rest(self) -> bytes:
        return b"" if self._stream is None else self._stream.rest


class _Brotli:
    def __init__(self) -> None:
        self._stream = import_module("brotli").Decompressor()

    def unpack(self, data: bytes) -> Iterator[bytes]:
        # The library raises an error for bytes after the end, so there is never a rest.
        # Its can_accept_more_data() is true while it still holds output.
        unpacked = self._stream.process(data, output_buffer_limit=OUTPUT_STEP)
        while unpacked:
            yield unpacked
            unpacked = b"" if self.ended else self._stream.process(b"", output_buffer_limit=OUTPUT_STEP)

    @property
    def ended(self) -> bool:
        return bool(self._stream.is_finished())

    rest = b""


class _Zstd:
    def __init__(self) -> None:
        library = _zstd()
        options = {library.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG}
        self._stream = library.ZstdDecompressor(options=options)

    def unpack(self, data: bytes) -> Iterator[bytes]:
        yield self._stream.decompress(data, OUTPUT_STEP)
        while not (self.ended or self._stream.needs_input):
            yield self._stream.decompress(b"", OUTPUT_STEP)

    @property
    def ended(self) -> bool:
        return bool(self._stream.eof)

    @property
    def rest(self) -> bytes:
        return bytes(self._stream.unused_data)


def _zstd() -> Any:
    """The zstd module: the standard library has one since Python 3.14, before that we use its backport."""
    try:
        return import_module("compression.zstd")
    except ImportError:
        return import_module("backports.zstd")


_MEMBERS: dict[str, Callable[[], _Member]] = {
    "gzip": lambda: _Zlib(16 + zlib.MAX_WBITS),
    "deflate": _Deflate,
    "br": _Brotli,
    "zstd": _Zstd,
}
#: Codings whose streams may follow each other in one body (RFC 1952, RFC 8878).
_REPEATED = frozenset({"gzip", "zstd"})


def read_codings(content_encoding: str | None) -> tuple[str, ...]:
    """The codings of a body, in the order in which the sender applied them.

    :param content_encoding: the header; ``identity`` in it is ignored.
    :raises UnsupportedMediaType: one of them is unknown, or there are too many.
    """
    if content_encoding is None:
        return ()
    named = (name.strip().lower() for name in content_encoding.split(","))
    codings = tuple(name.removeprefix("x-") for name in named if name not in ("", "identity"))
    unknown = next((name for name in codings if name not in _MEMBERS), None)
    if unknown is not None or len(codings) > MAX_CODINGS:
        what = f"{MAX_CODINGS + 1} codings or more" if unknown is None else ascii(unknown[:40])
        error = UnsupportedMediaType(
            f"The gateway does not support a Content-Encoding of {what}. "
            f"Send the body uncompressed, or with one of {', '.join(_MEMBERS)}."
        )
        error.headers["Accept-Encoding"] = ", ".join(_MEMBERS)  # RFC 9110, 15.5.16
        raise error
    return codings


def decompress(
    body: bytes, codings: tuple[str, ...], limit: int, hold: Callable[[int], None] = lambda size: None
) -> bytes:
    """The decompressed body.

    :param codings: from :func:`read_codings`. :param limit: its largest decompressed size, bytes.
    :param hold: called with the number of bytes in memory; an exception from it stops the work.
    :raises BodyTooLarge: the decompressed body exceeds the limit.
    :raises InvalidCompression: the compressed data is broken.
    :raises UnsupportedMediaType: the library for a coding is not installed.
    """
    view = memoryview(body)
    pieces: Iterable[bytes] = (bytes(view[at : at + INPUT_STEP]) for at in range(0, len(body), INPUT_STEP))
    for coding in reversed(codings):
        pieces = _bounded(_unpack(pieces, coding), limit)
    # getvalue() returns the buffer itself, without a copy.
    unpacked = BytesIO()
    for piece in pieces:
        hold(len(body) + unpacked.tell() + len(piece))
        unpacked.write(piece)
    hold(unpacked.tell())
    return unpacked.getvalue()


def _bounded(pieces: Iterable[bytes], limit: int) -> Iterator[bytes]:
    left = limit
    for piece in pieces:
        left -= len(piece)
        if left < 0:
            raise BodyTooLarge(
                f"The decompressed body is larger than the limit of {limit} bytes. Send less at once."
            )
        yield piece


def _unpack(pieces: Iterable[bytes], coding: str) -> Iterator[bytes]:
    try:
        yield from _members(pieces, coding)
    except ImportError:
        raise UnsupportedMediaType(
            f"This gateway cannot decompress '{coding}': the library is not installed. Send the body "
            "uncompressed, or in gzip. The operator can install it: pip install 'flask-llm-gateway[br]'."
        ) from None
    except _library_errors() as error:
        if coding == "zstd" and "memory" in str(error):
            raise InvalidCompression(
                "The zstd window of the body is larger than 8 MiB (RFC 9659). Compress it with a smaller one."
            ) from None
        raise InvalidCompression(
            f"The body is not valid {coding}, or something follows its end. "
            "Send it uncompressed, or compress it again."
        ) from None


def _library_errors() -> tuple[type[Exception], ...]:
    """The exception types of the libraries that are loaded; this imports none of them."""
    modules = (("brotli", "error"), ("backports.zstd", "ZstdError"), ("compression.zstd", "ZstdError"))
    loaded = [getattr(sys.modules[name], error) for name, error in modules if name in sys.modules]
    return (zlib.error, *loaded)


def _members(pieces: Iterable[bytes], coding: str) -> Iterator[bytes]:
    make = _MEMBERS[coding]
    member, members = make(), 1
    begun = False
    for piece in pieces:
        while piece:
            if member.ended:
                members += 1
                if coding not in _REPEATED or members > MAX_MEMBERS:
                    raise InvalidCompression(
                        f"Something follows the end of the {coding} body. Send the compressed body alone."
                    )
                member = make()
            yield from member.unpack(piece)
            begun = True
            piece = member.rest if member.ended else b""
    if begun and not member.ended:
        raise InvalidCompression(f"The {coding} body is truncated. Send it again, or uncompressed.")
