"""Frames of WebSocket: however the bytes are cut, the same messages come out, and the same bytes pass."""

from __future__ import annotations

import random

import pytest
from wsproto.frame_protocol import FrameProtocol

from flask_gateway.model.errors import InvalidFrames
from flask_gateway.realtime.frames import (
    CLOSE,
    PING,
    TEXT,
    CallerFrames,
    Message,
    UpstreamFrames,
    close_frame,
    frame,
)


def fragments(*parts: bytes, masked: bool = True) -> list[bytes]:
    """One text message in several frames."""
    protocol = FrameProtocol(client=masked, extensions=[])
    last = len(parts) - 1
    return [bytes(protocol.send_data(part.decode(), fin=number == last)) for number, part in enumerate(parts)]


def in_pieces(data: bytes, seed: int) -> list[bytes]:
    chance, pieces = random.Random(seed), []
    while data:
        size = chance.choice((1, 2, 3, 7, 50, 5000))
        pieces.append(data[:size])
        data = data[size:]
    return pieces


@pytest.mark.parametrize("seed", range(20))
def test_messages_do_not_depend_on_how_the_bytes_are_cut(seed: int):
    first, ping = frame(TEXT, b'{"a":1}', masked=True), frame(PING, b"hi", masked=True)
    begin, middle, end = fragments(b"x" * 300, b"y" * 70_000, b"z")
    sent = first + begin + ping + middle + end + ping
    frames, messages = CallerFrames(100_000), list[Message]()
    for piece in in_pieces(sent, seed):
        messages += frames.feed(piece)
    assert [(message.opcode, len(message.payload)) for message in messages] == [
        (TEXT, 7),
        (TEXT, 70_301),
        (PING, 2),
    ]
    assert b"".join(message.raw for message in messages) == sent
    assert frames.held == 0
    assert frames.is_at_frame_end


def test_a_close_within_a_message_is_seen():
    begin, _ = fragments(b"x", b"y")
    messages = CallerFrames(100).feed(begin + close_frame(1001, "gone", masked=True))
    assert [message.opcode for message in messages] == [CLOSE]


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(TEXT, b"x" * 101, masked=True), 1009),
        (fragments(b"x" * 60, b"x" * 60)[0] + fragments(b"x" * 60, b"x" * 60)[1], 1009),
        (frame(TEXT, b"x", masked=False), 1002),
        (fragments(b"a", b"b")[1], 1002),
        (fragments(b"a", b"b")[0] + frame(TEXT, b"x", masked=True), 1002),
        (b"\xf1\x80\0\0\0\0", 1002),
        (b"\x83\x80\0\0\0\0", 1002),
    ],
    ids=["long", "long in parts", "unmasked", "continuation", "within", "reserved", "unknown"],
)
def test_bytes_that_are_no_frame_end_the_session_with_a_code(sent: bytes, code: int):
    frames = CallerFrames(100)
    with pytest.raises(InvalidFrames) as caught:
        frames.feed(sent)
    assert caught.value.close == code


def test_a_message_that_is_too_long_is_refused_before_it_is_whole():
    frames = CallerFrames(100)
    with pytest.raises(InvalidFrames):
        frames.feed(frame(TEXT, b"x" * 10_000, masked=True)[:500])


def test_an_upstreams_messages_are_read_up_to_a_length():
    frames = UpstreamFrames(1000)
    long, short = frame(TEXT, b"x" * 1001, masked=False), frame(TEXT, b"{}", masked=False)
    assert frames.feed(long[:700]) == []
    assert not frames.is_at_frame_end
    assert frames.feed(long[700:] + short) == [b"", b"{}"]
    assert not frames.closed
    frames.feed(close_frame(1000, masked=False))
    assert frames.closed


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
@pytest.mark.parametrize("masked", [True, False])
def test_our_frames_are_read_as_they_were_written(size: int, masked: bool):
    protocol = FrameProtocol(client=not masked, extensions=[])
    protocol.receive_bytes(frame(TEXT, b"a" * size, masked=masked))
    assert "".join(str(part.payload) for part in protocol.received_frames()) == "a" * size


def test_a_long_reason_is_cut_between_characters():
    sent = close_frame(1008, "ü" * 100, masked=False)
    assert len(sent) <= 127
    assert sent[4:].decode() == "ü" * 61
