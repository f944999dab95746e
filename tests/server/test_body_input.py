"""Tests ``wsgi.input``: large bodies arrive without copies, and tiny chunks are refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.http.body import Body, ChunkedReader, LengthReader
from gunicorn.http.unreader import IterUnreader

from flask_gateway.model.errors import BodyNotReceived
from flask_gateway.server import body_input
from flask_gateway.server.body_input import (
    FEW_CHUNKS,
    LARGE_INPUT,
    MIN_AVERAGE,
    ChunkCount,
    LargeInput,
    input_of,
    may_be_followed,
)


def request(reader: Any, *connection: str, version: tuple[int, int] = (1, 1), **more: Any) -> Any:
    headers = [("HOST", "x"), *(("CONNECTION", value) for value in connection)]
    asked = {"version": version, "headers": headers, "must_close": False, "method": "POST", **more}
    return SimpleNamespace(body=Body(reader), **asked)


def read(length: int = 0) -> LengthReader:
    return LengthReader(IterUnreader(iter([])), length)


@pytest.mark.parametrize(
    ("asked", "followed"),
    [
        (request(read()), True),
        (request(read(), "keep-alive"), True),
        (request(read(), "Keep-Alive", version=(1, 0)), True),
        (request(read(), version=(1, 0)), False),
        (request(read(), "close"), False),
        (request(read(), "keep-alive", "close"), False),
        (request(read(), "keep-alive, close"), False),
        (request(read(), "Content-Length"), False),
        (request(read(1)), False),
        (request(read(), must_close=True), False),
        (request(read(), method="CONNECT"), False),
        (request(ChunkedReader(SimpleNamespace(), IterUnreader(iter([b"0\r\n\r\n"])))), False),
    ],
)
def test_a_request_follows_only_one_whose_end_is_certain(asked: Any, followed: bool) -> None:
    assert may_be_followed(asked) is followed


def test_no_request_follows_a_body_that_could_not_be_read() -> None:
    asked = request(read())
    asked.body.failed = True
    assert not may_be_followed(asked)


def test_a_small_body_stays_gunicorns_own() -> None:
    body = Body(LengthReader(IterUnreader(iter([b"abc"])), 3))
    assert input_of(body) is body


class Socket:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def recv_into(self, view: memoryview) -> int:
        size = min(len(view), len(self.data), 5)
        view[:size], self.data = self.data[:size], self.data[size:]
        return size


class Unreader:
    """In place of gunicorn's: some bytes are buffered, the rest is on the socket."""

    def __init__(self, buffered: bytes, rest: bytes) -> None:
        self.buffered, self.sock = buffered, Socket(rest)

    def take_buffered(self) -> bytes:
        taken, self.buffered = self.buffered, b""
        return taken

    def unread(self, data: bytes) -> None:
        self.buffered = data


def read_all(source: LargeInput, size: int) -> bytes:
    out = b""
    while count := source.readinto(view := memoryview(bytearray(size))):
        out += bytes(view[:count])
    return out


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_a_large_body_ends_at_its_length(size: int) -> None:
    unreader = Unreader(b"0123456", b"789abcdefNEXT")
    body = SimpleNamespace(reader=SimpleNamespace(unreader=unreader, length=16), read=None)
    assert read_all(LargeInput(body), size) == b"0123456789abcdef"


def test_bytes_behind_a_body_stay_for_the_next_request() -> None:
    unreader = Unreader(b"0123NEXT", b"")
    body = SimpleNamespace(reader=SimpleNamespace(unreader=unreader, length=4), read=None)
    assert read_all(LargeInput(body), 100) == b"0123"
    assert unreader.buffered == b"NEXT"


def test_the_length_decides_which_body_is_large() -> None:
    reader = LengthReader(IterUnreader(iter([])), LARGE_INPUT + 1)
    assert isinstance(input_of(Body(reader)), LargeInput)


def chunks_of(size: int, monkeypatch: pytest.MonkeyPatch) -> ChunkCount:
    monkeypatch.setattr(body_input.time, "sleep", lambda seconds: None)
    return ChunkCount(lambda unreader, data: (size, b""))


def test_very_many_tiny_chunks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    count = chunks_of(1, monkeypatch)
    with pytest.raises(BodyNotReceived, match="Send larger chunks"):
        [count(None) for _ in range(FEW_CHUNKS * 2)]


def test_as_many_chunks_of_a_fair_size_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    count = chunks_of(MIN_AVERAGE, monkeypatch)
    for _ in range(FEW_CHUNKS * 3):
        assert count(None) == (MIN_AVERAGE, b"")


def test_the_chunks_of_a_body_are_counted() -> None:
    message: Any = SimpleNamespace(trailers=[])
    body = Body(ChunkedReader(message, IterUnreader(iter([b"3\r\nabc\r\n0\r\n\r\n"]))))
    assert input_of(body) is body
    assert isinstance(body.reader.parse_chunk_size, ChunkCount)
