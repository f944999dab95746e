"""Keeps what the operator should know happened: warnings, changed breakers, reloads, actions of admins."""

from __future__ import annotations

import heapq
import logging
import time
from collections.abc import Callable, Iterable, Iterator

import msgspec

from .rings import decoded

#: The longest text, characters.
LONGEST = 220
#: A line of this kind is kept although it is no warning.
_KEPT = "settings reloaded"


class Note(msgspec.Struct, frozen=True, array_like=True):
    """Something that happened. ``at``: seconds since the epoch. ``level``: as in the log, like ``info``."""

    at: float
    level: str
    text: str


_decode = msgspec.msgpack.Decoder(Note).decode


class NoteWriter:
    """Writes notes into a ring. Any thread may call it.

    :param append: adds an entry to the ring.
    """

    def __init__(self, append: Callable[[bytes], object], clock: Callable[[], float] = time.time) -> None:
        self._append = append
        self._clock = clock

    def __call__(self, text: str, level: str = "info") -> None:
        """Keep a text. It must not have a secret."""
        line = " ".join(text.split())
        self._append(msgspec.msgpack.encode(Note(self._clock(), level, line[:LONGEST])))


class NoteHandler(logging.Handler):
    """Keeps the warnings that this process logs. There is one for each process; the last writer is used.

    A logger that has a handler no longer uses Python's handler of last resort, which writes warnings to
    standard error. So this handler hands records on to it where it is the only one.
    """

    writer: NoteWriter | None = None

    def emit(self, record: logging.LogRecord) -> None:
        writer, last = self.writer, logging.lastResort
        text = record.getMessage()
        alone = record.name.startswith("flask_gateway") and not logging.getLogger().handlers
        if alone and last is not None and record.levelno >= last.level:
            last.handle(record)
        if writer is not None and (record.levelno >= logging.WARNING or _KEPT in text):
            writer(text.removeprefix("flask-gateway: "), record.levelname.lower())


_handler = NoteHandler()


def keep_warnings(writer: NoteWriter) -> None:
    """Keep the warnings of this process from now on, of the gateway and of gunicorn."""
    _handler.writer = writer
    for name in ("flask_gateway", "gunicorn.error"):
        logger = logging.getLogger(name)
        if _handler not in logger.handlers:
            logger.addHandler(_handler)


def merged(rings: Iterable[Iterator[bytes]]) -> Iterator[Note]:
    """Yield the notes of several rings, the newest first."""
    return heapq.merge(*(decoded(ring, _decode) for ring in rings), key=lambda note: -note.at)
