"""Gives a request body to the application: large ones without copies, chunked ones with a bound on chunks."""

from __future__ import annotations

import time
from typing import Any

from gunicorn.http.body import ChunkedReader, LengthReader

from ..model.errors import BodyNotReceived
from ..model.large_json import PAUSE

#: Longer bodies are read without copies, bytes.
LARGE_INPUT = 65536
#: After so many chunks, the chunks of a body must have so many bytes on average. gunicorn parses a chunk in
#: 3 us and holds the GIL, so 16 MiB in chunks of one byte would take 50 s.
FEW_CHUNKS, MIN_AVERAGE = 2000, 32
#: How many chunks are parsed between two pauses. It takes 0.4 ms.
MANY_CHUNKS = 128
_TOO_SMALL = "The chunks of the body have only a few bytes each. Send larger chunks."


def may_be_followed(req: Any) -> bool:
    """Whether another request may follow on the connection, behind this request.

    Stricter than RFC 9112, 9.3: not behind a chunked body, a body that was not read to its end, or any word
    about the connection but ``keep-alive``. So no doubt about the end of a request reaches the next one.

    :param req: gunicorn's request.
    """
    reader = req.body.reader
    if not isinstance(reader, LengthReader) or reader.length or req.body.failed or req.must_close:
        return False
    kept: bool = req.version > (1, 0)
    for name, value in req.headers:
        if name == "CONNECTION":
            if value.lower() != "keep-alive":
                return False
            kept = True
    return kept and req.method != "CONNECT"


def input_of(body: Any) -> Any:
    """The ``wsgi.input`` for gunicorn's body."""
    reader = body.reader
    if isinstance(reader, LengthReader):
        return LargeInput(body) if reader.length > LARGE_INPUT else body
    if isinstance(reader, ChunkedReader):
        reader.parse_chunk_size = ChunkCount(reader.parse_chunk_size)
    return body


class ChunkCount:
    """Parses the sizes of a body's chunks with gunicorn's method. Pauses, so that other threads run, and
    refuses a body of very many small chunks."""

    def __init__(self, parse: Any) -> None:
        self._parse = parse
        self._chunks = self._bytes = 0

    def __call__(self, unreader: Any, data: bytes | None = None) -> tuple[int, bytes]:
        """:raises BodyNotReceived: the chunks are too small."""
        found: tuple[int, bytes] = self._parse(unreader, data)
        self._chunks += 1
        self._bytes += found[0]
        if not self._chunks % MANY_CHUNKS:
            if self._chunks > FEW_CHUNKS + self._bytes // MIN_AVERAGE:
                raise BodyNotReceived(
                    "The chunks of the body have only a few bytes each. Send larger chunks."
                )
            time.sleep(PAUSE)
        return found


class LargeInput:
    """``wsgi.input`` of a large body of known length, which can be read without gunicorn's copies."""

    def __init__(self, body: Any) -> None:
        self._reader = body.reader
        self.read = body.read

    def readinto(self, view: memoryview) -> int:
        """Read what is there, as raw files do. Returns the number of bytes; 0 at the end."""
        reader = self._reader
        view = view[: reader.length]
        if not view:
            return 0
        if received := reader.unreader.take_buffered():
            fits = min(len(received), len(view))
            view[:fits] = received[:fits]
            reader.unreader.unread(received[fits:])
        else:
            fits = reader.unreader.sock.recv_into(view)
        reader.length -= fits
        return int(fits)
