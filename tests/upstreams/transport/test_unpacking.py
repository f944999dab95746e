"""Compressed answers: unpacked as they arrive, a piece at a time, and never cut without a word."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.calls import chunk, sse
from kit.drivers import Relayed, iterated, reply_over

from flask_gateway.model.errors import Verdict
from flask_gateway.upstreams.transport.client import ResponseSource
from flask_gateway.upstreams.transport.unpacking import PIECE, UnpackedSource, Unpacker

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
def test_compressed_bytes_decompress_to_the_original(packed: bytes, raw: bool, size: int) -> None:
    unpacker = Unpacker(raw=raw)
    assert unpack(unpacker, *(packed[at : at + size] for at in range(0, len(packed), size))) == BODY
    assert unpacker.over


@given(st.binary(max_size=4000), st.integers(1, 99))
def test_any_bytes_pass_through_compression(data: bytes, size: int) -> None:
    packed = gzip.compress(data)
    assert (
        unpack(Unpacker(raw=False), *(packed[at : at + size] for at in range(0, len(packed), size))) == data
    )


@pytest.mark.parametrize("packed", [gzip.compress(BODY, mtime=0), zlib.compress(BODY), bare(BODY)])
def test_a_truncated_stream_is_not_over(packed: bytes) -> None:
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


def test_invalid_compressed_bytes_raise() -> None:
    with pytest.raises(zlib.error):
        unpack(Unpacker(raw=False), gzip.compress(BODY, mtime=0)[:20] + b"x" * 99)


def test_bytes_behind_the_end_are_dropped() -> None:
    assert unpack(Unpacker(raw=False), gzip.compress(BODY, mtime=0), b"\0\0", b"junk") == BODY


@pytest.fixture(scope="module")
def relayed() -> Iterator[Relayed]:
    relayed = Relayed()
    yield relayed
    relayed.close()


@pytest.mark.parametrize("cut", [None, 40])
@pytest.mark.parametrize("size", [7, 1 << 14])
def test_a_compressed_stream_is_the_same_to_a_thread_and_to_the_relay(
    relayed: Relayed, cut: int | None, size: int
) -> None:
    said = sse(*(chunk(f"word{number} ") for number in range(99)), chunk(finish="stop"))
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    events = [event + b"\n\n" for event in said.split(b"\n\n")[:-1]]
    packed = b"".join(packer.compress(event) + packer.flush(zlib.Z_SYNC_FLUSH) for event in events)
    packed = (packed + packer.flush())[: cut and len(packed) // 2]
    pieces: list[bytes | Exception | None] = [packed[at : at + size] for at in range(0, len(packed), size)]
    seen = []
    for drive in (iterated, relayed.drive):
        reply, _ = reply_over(["Connection: close"], [one for piece in pieces for one in (piece, None)])
        source = reply._source
        assert isinstance(source, ResponseSource)
        reply._source = UnpackedSource(source, Unpacker(raw=False), "llama")
        seen.append(drive(reply.prime()))
        assert reply.outcome is not None
        assert reply.outcome.verdict is (Verdict.FAILURE if cut else Verdict.SUCCESS)
    assert seen[0] == seen[1]
    assert (seen[0] == said) is not bool(cut)
