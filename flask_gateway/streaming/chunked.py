"""Writes the chunks of a response body (RFC 9112, section 7.1)."""

from __future__ import annotations

#: The first lines of chunks of the usual sizes. Looking one up takes a fraction of formatting it.
_SIZE_LINES = tuple(b"%X\r\n" % size for size in range(1024))
_PREPARED = len(_SIZE_LINES)


def chunk(data: bytes) -> bytes:
    """Return the data as one chunk. Without data it is the last chunk, with no trailers behind it."""
    size = len(data)
    return (_SIZE_LINES[size] if size < _PREPARED else b"%X\r\n" % size) + data + b"\r\n"
