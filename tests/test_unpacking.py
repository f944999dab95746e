"""Compressed answers: unpacked as they arrive, a piece at a time, and never cut without a word."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_gateway.upstreams.unpacking import PIECE, Unpacker

BODY = b'{"choices": [' + b"1, " * 50_000 + b"2]}"


def bare(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def unpack(unpacker: Unpacker, *pieces: bytes) -> bytes:
    out = b""
    for piece in pieces:
        unpacker.feed(piece)
        while data := unpacker.take():
            assert len(data) <= PIECE or unpacker.over
            out += data
        assert not unpacker.holds
    return out


@pytest.mark.parametrize(
    ("packed", "raw"),
    [
        (gzip.compress(BODY, mtime=0), False),
        (gzip.compress(BODY[:99], mtime=0) + gzip.compress(BODY[99:], mtime=0), False),
        (gzip.compress(BODY, mtime=0) + b"\0" * 9, False),
        (zlib.compress(BODY), True),
        (bare(BODY), True),
        (BODY, False),
        (BODY, True),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_it_is_what_it_was(packed: bytes, raw: bool, size: int) -> None:
    unpacker = Unpacker(raw=raw)
    assert unpack(unpacker, *(packed[at : at + size] for at in range(0, len(packed), size))) == BODY
    assert unpacker.over


@given(st.binary(max_size=4000), st.integers(1, 99))
def test_whatever_it_was_it_comes_out(data: bytes, size: int) -> None:
    packed = gzip.compress(data)
    assert (
        unpack(Unpacker(raw=False), *(packed[at : at + size] for at in range(0, len(packed), size))) == data
    )


@pytest.mark.parametrize("packed", [gzip.compress(BODY, mtime=0), zlib.compress(BODY), bare(BODY)])
def test_one_that_broke_off_is_not_over(packed: bytes) -> None:
    for at in (2, 10, len(packed) // 2, len(packed) - 1):
        unpacker = Unpacker(raw=True)
        unpack(unpacker, packed[:at])
        assert not unpacker.over


def test_a_bomb_comes_in_pieces() -> None:
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    bomb = b"".join(packer.compress(b"0" * (1 << 20)) for _ in range(64)) + packer.flush()
    unpacker, sizes = Unpacker(raw=False), []
    unpacker.feed(bomb)
    while (data := unpacker.take()) and len(sizes) < 20:
        sizes.append(len(data))
        assert unpacker.holds
    assert set(sizes) == {PIECE}


def test_what_is_no_such_stream_is_told() -> None:
    with pytest.raises(zlib.error):
        unpack(Unpacker(raw=False), gzip.compress(BODY, mtime=0)[:20] + b"x" * 99)


def test_what_follows_is_nobodys() -> None:
    assert unpack(Unpacker(raw=False), gzip.compress(BODY, mtime=0), b"\0\0", b"junk") == BODY
