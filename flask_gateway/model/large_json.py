"""Splits work on large JSON into slices, so that no thread holds the GIL for long.

A call into C on 16 MiB holds the GIL for 5 to 700 ms. No other thread runs meanwhile: no stream, no health
check. So the work is split into slices of a few milliseconds, and other threads run between the slices. A
lock lets only one thread at a time work on large JSON. Otherwise other threads would wait for all of them.
"""

from __future__ import annotations

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

_turn = threading.Lock()
_at_once: AbstractContextManager[object] = nullcontext()


def taking_turns(size: int) -> AbstractContextManager[object]:
    """Return the lock for work on so many bytes. The work must not block or enter the lock twice."""
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


def pausing(values: Sequence[Value]) -> Iterator[Value]:
    """Yield the values, with a pause after every :data:`MANY` of them."""
    for index, value in enumerate(values):
        if index % MANY == MANY - 1:
            time.sleep(PAUSE)
        yield value


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
        pieces = piece.split(b'"', most)
        self.quotes += len(pieces) - 1
        self.inside ^= len(pieces) % 2 == 0
        return pieces
