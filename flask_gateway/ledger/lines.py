"""Defines the lines of a journal, and encodes and decodes them.

A line is a newline, JSON, a space, the JSON's CRC-32 in 8 hex digits, and a newline. The first newline ends
a line that a full disk tore before. A torn or damaged line does not decode.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple
from zlib import crc32

import msgspec

from ..model.spend import Applied, CostSource, Hold
from ..model.units import Units

#: The longest line, bytes. Names are cut where they enter, so only a damaged line is longer.
MOST = 16 * 1024
#: The newlines, the space and the CRC around the JSON.
_AROUND = 11


class Opened(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="t", tag="o"):
    """A call was admitted. It is lost if its worker ends and no line settles it.

    :param n: the number of the call within its worker, from 1.
    :param id: the request id.
    :param at: epoch seconds.
    """

    n: int
    id: str
    at: float
    key: str
    team: str = ""
    user: str = ""
    model: str = ""
    holds: tuple[Hold, ...] = ()


class Settled(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="t", tag="s"):
    """One leg of a call is paid: an attempt that had a cost or tokens. The last leg ends the call.

    :param n: the number of the call, as in :class:`Opened`.
    :param leg: 0 for the first leg of a call.
    :param at: epoch seconds of the settlement.
    :param cost: nano-dollars; ``None`` where the price is unknown.
    :param rates: the digest of the rates in force.
    :param applied: the accounts that have the cost already.
    :param end: whether this line ends the call.
    :param held: the amounts that the accounts still hold for the call. The bookkeeper releases them.
    """

    n: int
    id: str
    at: float
    key: str
    leg: int = 0
    team: str = ""
    user: str = ""
    model: str = ""
    upstream: str = ""
    upstream_model: str = ""
    units: Units = Units(requests=0)
    cost: int | None = 0
    source: CostSource = "reported"
    rates: str = ""
    tags: Mapping[str, str] = {}
    status: int = 200
    applied: tuple[Applied, ...] = ()
    end: bool = True
    held: tuple[Hold, ...] = ()

    @property
    def charged(self) -> bool:
        """Whether the leg becomes a row: it had a cost, or tokens, or nobody knows whether it had."""
        return self.cost is None or self.cost != 0 or self.units.input > 0 or self.units.output > 0


class Alerted(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", tag="a"):
    """A settlement has crossed a share of a budget.

    :param at: epoch seconds. :param window: its kind. :param start: of the window, epoch seconds.
    :param used: nano-dollars. :param amount: the budget's, nano-dollars.
    """

    at: float
    subject: str
    window: str
    start: int
    share: float
    used: int
    amount: int


Line = Opened | Settled | Alerted

_decode = msgspec.json.Decoder(Line).decode
_encode = msgspec.json.Encoder().encode


def encode(line: Line) -> bytes:
    """Encode a line with its check digits and its newline.

    :raises ValueError: the line is longer than :data:`MOST`.
    """
    text = _encode(line)
    if len(text) + _AROUND > MOST:
        raise ValueError(f"a journal line of {len(text)} bytes; the most is {MOST}")
    return b"\n%b %08x\n" % (text, crc32(text))


class Read(NamedTuple):
    """A decoded line. ``end`` is the offset behind it.

    :param line: ``None`` where it was damaged; then ``text`` is what is there.
    """

    line: Line | None
    end: int
    text: bytes = b""

    def comes_again(self, text: bytes, start: int) -> bool:
        """Whether this is the beginning of a line that a full disk tore and that was written again.

        :param text: of the journal. :param start: where to look from: at the newline behind this line.
        """
        return bool(self.text) and text.find(b"\n" + self.text, start) >= 0


def decode(buffer: bytes, offset: int = 0) -> Iterator[Read]:
    """Decode the whole lines of a buffer. A line without its last newline is not there yet.

    :param offset: of the buffer's first byte within its file.
    """
    start = 0
    while (stop := buffer.find(b"\n", start)) >= 0:
        if stop > start:
            text = buffer[start:stop]
            line = _checked(text)
            yield Read(line, offset + stop + 1, b"" if line else text)
        start = stop + 1


def _checked(text: bytes) -> Line | None:
    body, _, digits = text.rpartition(b" ")
    if digits != b"%08x" % crc32(body):
        return None
    try:
        line: Line = _decode(body)
        return line
    except msgspec.DecodeError:  # a line of a newer version
        return None
