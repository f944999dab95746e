"""Tests the decompression of request bodies: formats, limits, broken input and bombs."""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Callable
from contextlib import suppress

import brotli
import pytest
from kit.zstd_module import zstd

from flask_gateway.model.errors import BodyTooLarge, InvalidCompression, UnsupportedMediaType
from flask_gateway.web.decompression import MAX_MEMBERS, OUTPUT_STEP, decompress, read_codings

LIMIT = 1 << 20
BODY = b'{"model": "m", "n": 1}'


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


#: How each coding is made, and its name in the header.
CODINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "zlib": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", zstd.compress),
}
every_coding = pytest.mark.parametrize(("name", "pack"), CODINGS.values(), ids=CODINGS)


def unpacked(header: str, body: bytes, limit: int = LIMIT) -> bytes:
    return decompress(body, read_codings(header), limit)


@every_coding
@pytest.mark.parametrize(
    "data",
    [
        BODY,
        b"x",
        b"x" * LIMIT,
        b"x" * OUTPUT_STEP,
        b"x" * (2 * OUTPUT_STEP),
        random.Random(1).randbytes(LIMIT),
        random.Random(2).randbytes(65536),
    ],
    ids=["json", "byte", "limit", "step", "two steps", "noise", "noise step"],
)
def test_a_body_is_decompressed_to_the_original(name: str, pack: Callable[[bytes], bytes], data: bytes):
    assert unpacked(name, pack(data)) == data


@every_coding
def test_one_byte_over_the_limit_is_too_large(name: str, pack: Callable[[bytes], bytes]):
    with pytest.raises(BodyTooLarge, match=str(LIMIT)):
        unpacked(name, pack(b"x" * (LIMIT + 1)))


@every_coding
def test_decompression_stops_at_the_limit(name: str, pack: Callable[[bytes], bytes]):
    bomb = pack(bytes(8 << 20))
    with pytest.raises(BodyTooLarge):
        unpacked(name, bomb, 1000)
    with pytest.raises(BodyTooLarge):
        unpacked(f"{name}, {name}", pack(bomb), 1000 if name != "gzip" else 65536)


@every_coding
def test_a_truncated_body_is_an_error(name: str, pack: Callable[[bytes], bytes]):
    whole = pack(random.Random(3).randbytes(5000))
    for end in (1, len(whole) // 2, len(whole) - 1):
        with pytest.raises(InvalidCompression, match=r"truncated|not valid"):
            unpacked(name, whole[:end])


@every_coding
@pytest.mark.parametrize("garbage", [b"\0", b"x", BODY])
def test_bytes_after_the_end_are_an_error(name: str, pack: Callable[[bytes], bytes], garbage: bytes):
    with pytest.raises(InvalidCompression, match=r"follows (the|its) end|truncated"):
        unpacked(name, pack(BODY) + garbage)


@every_coding
def test_a_body_in_another_format_is_an_error(name: str, pack: Callable[[bytes], bytes]):
    for body in (BODY, b"\x1f\x8b\x08 and no more than that", random.Random(4).randbytes(100)):
        with pytest.raises(InvalidCompression):
            unpacked(name, body)


@every_coding
def test_an_empty_body_stays_empty(name: str, pack: Callable[[bytes], bytes]):
    assert unpacked(name, b"") == b""
    assert unpacked(name, pack(b"")) == b""


def test_several_members_or_frames_are_one_body():
    assert unpacked("gzip", gzip.compress(BODY[:7]) + gzip.compress(BODY[7:])) == BODY
    skippable = b"\x50\x2a\x4d\x18\x03\0\0\0abc"
    assert unpacked("zstd", zstd.compress(BODY[:7]) + skippable + zstd.compress(BODY[7:])) == BODY
    for name, empty in (("gzip", gzip.compress(b"")), ("zstd", zstd.compress(b""))):
        with pytest.raises(InvalidCompression):
            unpacked(name, empty * (MAX_MEMBERS + 1))


def test_nested_codings_are_decoded_in_reverse_order():
    assert unpacked("gzip, identity , zstd", zstd.compress(gzip.compress(BODY))) == BODY
    with pytest.raises(InvalidCompression):
        unpacked("zstd, gzip", zstd.compress(gzip.compress(BODY)))
    # The outer coding expands beyond the limit, although the final body is small.
    with pytest.raises(BodyTooLarge):
        unpacked("gzip, zstd", zstd.compress(gzip.compress(b"", 0) * 50000), 65536)


def test_the_bytes_in_memory_are_reported_while_they_grow():
    told: list[int] = []
    packed = gzip.compress(bytes(LIMIT))
    decompress(packed, ("gzip",), LIMIT, told.append)
    assert told == [*sorted(told[:-1]), LIMIT]
    assert max(told) == len(packed) + LIMIT
    assert len(told) >= LIMIT / OUTPUT_STEP

    def refuse(size: int) -> None:
        raise MemoryError(size)

    with pytest.raises(MemoryError):
        decompress(packed, ("gzip",), LIMIT, refuse)


def test_a_large_zstd_window_is_refused():
    packer = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 27})
    body = packer.compress(bytes(1000), zstd.ZstdCompressor.FLUSH_BLOCK) + packer.flush()
    with pytest.raises(InvalidCompression, match="8 MiB"):
        unpacked("zstd", body)


@pytest.mark.parametrize("header", [None, "identity", "IDENTITY", "", " ", ",", " , identity"])
def test_empty_and_identity_codings_are_ignored(header: str | None):
    assert read_codings(header) == ()


@pytest.mark.parametrize(
    "header", ["compress", "gzip;q=1", "gzip, snappy", "gzip, gzip, gzip, gzip", "gz\tip"]
)
def test_an_unknown_coding_is_refused_and_the_known_ones_are_named(header: str):
    with pytest.raises(UnsupportedMediaType, match="gzip, deflate, br, zstd") as refused:
        read_codings(header)
    assert refused.value.headers["Accept-Encoding"] == "gzip, deflate, br, zstd"


@every_coding
def test_a_corrupted_byte_is_a_caller_error_or_harmless(name: str, pack: Callable[[bytes], bytes]):
    dice, whole = random.Random(5), pack(random.Random(6).randbytes(300) + bytes(300))
    for _ in range(300):
        broken = bytearray(whole)
        broken[dice.randrange(len(broken))] = dice.randrange(256)
        with suppress(BodyTooLarge, InvalidCompression):
            unpacked(name, bytes(broken))
