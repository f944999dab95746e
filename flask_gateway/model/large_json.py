"""Work on large JSON without holding the GIL for long: in slices, and by one thread at a time.

A call into C on 16 MiB holds the GIL for 5 to 700 ms. No other thread runs meanwhile: no stream, no health
check. So the work is cut into slices of a few milliseconds, and other threads run between
them. If many threads did so at once, each of the others would wait for all of them; so they take turns.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

Value = TypeVar("Value")

#: The most that one call into C is given, bytes.
SLICE = 256 * 1024
#: From this size on, bytes, threads take turns.
LARGE = 1024 * 1024
#: How many values are worked on from one pause to the next.
MANY = 500
#: How long the GIL is left to others between two slices, seconds. A zero would not make a thread switch.
PAUSE = 0.0001

_turn = threading.Lock()
_at_once: AbstractContextManager[object] = nullcontext()


def taking_turns(size: int) -> AbstractContextManager[object]:
    """To be entered for work on so many bytes. It must wait for nobody, and never be entered twice."""
    return _turn if size > LARGE else _at_once


def slices(data: bytes | memoryview) -> Iterator[bytes]:
    """The data in slices, with a pause between two of them if it is large."""
    if len(data) <= SLICE:
        yield bytes(data)  # no copy of what is bytes
        return
    for start in range(0, len(data), SLICE):
        if start and len(data) > LARGE:
            time.sleep(PAUSE)
        yield bytes(data[start : start + SLICE])


def pausing(values: Sequence[Value]) -> Iterator[Value]:
    """The values, with a pause now and then if they are many."""
    for index, value in enumerate(values):
        if index % MANY == MANY - 1:
            time.sleep(PAUSE)
        yield value


class Texts:
    """Tells the texts of JSON from what stands outside them, slice by slice.

    An escaped quote ends no text; escapes of quotes and backslashes come out as ``--``.
    """

    def __init__(self) -> None:
        #: Whether the next slice begins inside a text.
        self.inside = False
        #: The quotes so far.
        self.quotes = 0
        self._escape = b""

    def split(self, piece: bytes, most: int = -1) -> list[bytes]:
        """The slice cut at its quotes: by turns outside and inside of texts, as :attr:`inside` said before.

        :param most: where to stop counting quotes; what is behind them is left as it is.
        """
        if self._escape:
            piece, self._escape = self._escape + piece, b""
        # A single byte is looked for many times faster than two or three.
        if b"\\" in piece:
            # A run of backslashes that goes on in the next slice: its last one may escape what is there.
            if (len(piece) - len(piece.rstrip(b"\\"))) % 2:
                piece, self._escape = piece[:-1], b"\\"
            # To replace by as many bytes is the fastest.
            if rb'\\"' in piece:
                piece = piece.replace(rb"\\", b"--")
            piece = piece.replace(rb"\"", b"--")
        pieces = piece.split(b'"', most)
        self.quotes += len(pieces) - 1
        self.inside ^= len(pieces) % 2 == 0
        return pieces
