"""Encodes a kept answer, so that damage is noticed: an entry is whole and of its key, or it is none."""

from __future__ import annotations

import struct
from zlib import crc32

import msgspec

#: The checksum of what follows, and the length of the head.
_FRONT = struct.Struct("<II")


class KeptAnswer(msgspec.Struct, frozen=True, array_like=True):
    """An answer as the caller got it.

    :param stored: seconds since the epoch.
    :param tokens: what the upstream charged for. :param cost: nano-dollars, 0 if that is not known.
    """

    stored: float
    content_type: str
    upstream: str
    tokens: int
    cost: int
    body: bytes


class _Head(msgspec.Struct, frozen=True, array_like=True):
    key: bytes
    stored: float
    content_type: str
    upstream: str
    tokens: int
    cost: int


_decode = msgspec.msgpack.Decoder(_Head).decode


def encoded(key: bytes, entry: KeptAnswer) -> bytes:
    """The bytes to keep."""
    head = msgspec.msgpack.encode(
        _Head(key, entry.stored, entry.content_type, entry.upstream, entry.tokens, entry.cost)
    )
    rest = head + entry.body
    return _FRONT.pack(crc32(rest), len(head)) + rest


def decoded(key: bytes, data: bytes) -> KeptAnswer | None:
    """The entry of that key; ``None`` if the bytes are damaged, or of another key."""
    if len(data) < _FRONT.size:
        return None
    checksum, length = _FRONT.unpack_from(data)
    rest = data[_FRONT.size :]
    if crc32(rest) != checksum or length > len(rest):
        return None
    try:
        head = _decode(rest[:length])
    except msgspec.MsgspecError:
        return None
    if head.key != key:
        return None
    return KeptAnswer(head.stored, head.content_type, head.upstream, head.tokens, head.cost, rest[length:])
