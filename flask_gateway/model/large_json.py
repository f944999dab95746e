"""Splits work on large JSON into slices, so that no thread holds the GIL for long.

A call into C on 16 MiB holds the GIL for 5 to 700 ms. No other thread runs meanwhile: no stream, no health
check. So the work is split into slices of a few milliseconds, and other threads run between the slices. A
lock lets only one thread at a time work on large JSON. Otherwise other threads would wait for all of them.
"""

from __future__ import annotations

import codecs
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

Value = TypeVar("Value")

#: The most data that one call into C gets, bytes.
SLICE = 256 * 1024
#: From this size on, bytes, the work needs the lock.
LARGE = 1024 * 1024
#: How many values are processed between two pauses.
MANY = 500
#: How long a pause between two slices is, seconds. A pause of zero does not make threads switch.
PAUSE = 0.0001

#: How long a thread keeps the GIL during such work while others want it, seconds.
SWITCH_INTERVAL = 0.001


class _Turn:
    """A lock that the same thread may enter again. Meanwhile threads hand over the GIL more often."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._depth = 0
        self._usual = 0.0

    def __enter__(self) -> None:
        self._lock.acquire()
        self._depth += 1
        if self._depth == 1:
            self._usual = sys.getswitchinterval()
            sys.setswitchinterval(SWITCH_INTERVAL)

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth:
            sys.setswitchinterval(self._usual)
        self._lock.release()


_turn = _Turn()
_at_once: AbstractContextManager[object] = nullcontext()


def taking_turns(size: int) -> AbstractContextManager[object]:
    """Return the lock for work on so many bytes. The work must not block."""
    return _turn if size > LARGE else _at_once


def slices(data: bytes | memoryview) -> Iterator[bytes]:
    """Yield the data in slices, with a pause between two slices if the data is large."""
    if len(data) <= SLICE:
        yield bytes(data)  # copies nothing if the data is `bytes`
        return
    for start in range(0, len(data), SLICE):
        if start and len(data) > LARGE:
            time.sleep(PAUSE)
        yield bytes(data[start : start + SLICE])


def pause(size: int) -> None:
    """Let other threads run between two calls into C on so many bytes."""
    if size > LARGE:
        time.sleep(PAUSE)


def first_bad_byte(data: bytes) -> int | None:
    """The position of the first byte that is not UTF-8. It decodes slice by slice: the whole text could take
    four times the memory."""
    decode, read = codecs.getincrementaldecoder("utf-8")().decode, 0
    try:
        for piece in slices(data):
            read += len(piece)
            decode(piece, read == len(data))
    except UnicodeDecodeError as error:
        return read - len(error.object) + error.start
    return None


def check_utf8(data: bytes) -> bool:
    """Return ``True``. :raises ValueError: the data is not UTF-8."""
    if len(data) <= SLICE:
        data.decode()
    elif first_bad_byte(data) is not None:
        raise ValueError("not UTF-8")
    return True


def pausing(values: Sequence[Value]) -> Iterator[Value]:
    """Yield the values, with a pause after every :data:`MANY` of them."""
    for index, value in enumerate(values):
        if index % MANY == MANY - 1:
            time.sleep(PAUSE)
        yield value


#: Quotes that are found one by one.
_FEW = 64


def split_at_quotes(text: bytes, most: int = -1) -> list[bytes]:
    """Like ``text.split(b'"', most)``. Between distant quotes ``find`` is twenty times faster."""
    pieces, at = [], 0
    for _ in range(_FEW if most < 0 else min(_FEW, most)):
        quote = text.find(b'"', at)
        if quote < 0:
            pieces.append(text[at:])
            return pieces
        pieces.append(text[at:quote])
        at = quote + 1
    pieces += text[at:].split(b'"', most if most < 0 else most - len(pieces))
    return pieces


class Texts:
    """Separates the strings of JSON from the text around them, slice by slice.

    An escaped quote does not end a string. Escapes of quotes and backslashes are replaced by ``--``.
    """

    def __init__(self) -> None:
        #: Whether the next slice begins inside a string.
        self.inside = False
        #: How many quotes there were so far.
        self.quotes = 0
        self._escape = b""

    def split(self, piece: bytes, most: int = -1) -> list[bytes]:
        """Split the slice at its quotes. The pieces alternate between outside and inside of strings, starting
        with what :attr:`inside` was before.

        :param most: stop after so many quotes and leave the rest unsplit.
        """
        if self._escape:
            piece, self._escape = self._escape + piece, b""
        # Searching for one byte is many times faster than for two or three.
        if piece.find(b"\\") >= 0:
            # A run of backslashes at the end may escape the first byte of the next slice.
            if (len(piece) - len(piece.rstrip(b"\\"))) % 2:
                piece, self._escape = piece[:-1], b"\\"
            # A replacement of equal length is the fastest.
            if rb'\\"' in piece:
                piece = piece.replace(rb"\\", b"--")
            piece = piece.replace(rb"\"", b"--")
        pieces = split_at_quotes(piece, most)
        self.quotes += len(pieces) - 1
        self.inside ^= len(pieces) % 2 == 0
        return pieces
