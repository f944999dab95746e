"""Tests large events: which pass, and which break the stream."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from kit.calls import chunk, make_call, sse
from kit.stream_events import read, stream

from flask_gateway.dialects.buffered_transcript import MAX_WHOLE
from flask_gateway.dialects.chunks import MAX_PARTS
from flask_gateway.dialects.sse import MAX_EVENT
from flask_gateway.dialects.transcripts import transcript_for
from flask_gateway.model.call import Operation
from flask_gateway.model.errors import UpstreamMalformed

PICTURE = {
    "images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * (15 << 20)}}]
}


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_picture_comes_in_one_event(end: bytes) -> None:
    said = sse(chunk("here: "), {"choices": [{"index": 0, "delta": PICTURE}]}, chunk(finish="stop"))
    said = said.replace(b"\n", end)
    transcript = stream()
    pieces = [said[at : at + 16384] for at in range(0, len(said), 16384)]
    assert len(read(transcript, *pieces)) > 15 << 20
    assert transcript.dropped == 0


def test_a_response_may_have_twice_as_large_ones() -> None:
    call = {"type": "image_generation_call", "result": "A" * (31 << 20)}
    last = {"type": "response.completed", "response": {"output": [call], "usage": {"input_tokens": 3}}}
    said = b"event: response.completed\n" + sse(last, done=False)
    for transcript in (stream(Operation.RESPONSE), whole(Operation.RESPONSE)):
        out = b"".join(transcript.feed(said[at : at + 65536]) for at in range(0, len(said), 65536))
        assert transcript.finished
        assert out == said
        assert transcript.usage is not None
        assert transcript.usage.prompt_tokens == 3
    assert MAX_WHOLE > 2 * MAX_EVENT


def whole(operation: Operation) -> Any:
    call = msgspec.structs.replace(make_call(stream=True), operation=operation, whole=True)
    return transcript_for(call, "up")


@pytest.mark.parametrize("operation", [Operation.CHAT, Operation.RESPONSE])
def test_larger_ones_break_the_stream(operation: Operation) -> None:
    most = MAX_EVENT * (2 if operation is Operation.RESPONSE else 1)
    with pytest.raises(UpstreamMalformed):
        stream(operation).feed(b"data: " + b"x" * most)


@pytest.mark.parametrize("operation", [Operation.CHAT, Operation.RESPONSE])
def test_bytes_with_an_unknown_beginning_are_not_collected(operation: Operation) -> None:
    with pytest.raises(UpstreamMalformed):
        stream(operation).feed(bytes(65 * 1024))
    with pytest.raises(UpstreamMalformed):
        transcript_for(make_call(), "up").feed(bytes(9))


def test_an_event_of_very_many_lines_breaks_the_stream() -> None:
    with pytest.raises(UpstreamMalformed, match="lines"):
        stream().feed(b"data: x\n" * 200_000 + b"\n")


def test_no_more_parts_of_a_delta_are_counted_than_there_may_be() -> None:
    transcript = stream()
    parts = [{"type": "text", "text": "four"}] * (2 * MAX_PARTS)
    transcript.feed(sse({"choices": [{"index": 0, "delta": {"content": parts}}]}, done=False))
    assert transcript.usage is not None
    assert transcript.usage.completion_tokens == MAX_PARTS


def test_an_opening_that_repeats_a_long_request_is_held_back() -> None:
    created = {"type": "response.created", "response": {"instructions": "x" * (1 << 20)}}
    transcript = stream(Operation.RESPONSE)
    held = transcript.feed(sse(created, done=False))
    assert not transcript.ready
    assert held == sse(created, done=False)
