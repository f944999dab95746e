"""Tests a stream that passes only as a whole: nothing before its end, the error alone after a fault."""

from __future__ import annotations

import pytest
from kit.calls import chunk, make_call, sse

from flask_gateway.dialects import buffered_transcript
from flask_gateway.dialects.buffered_transcript import BufferedTranscript
from flask_gateway.dialects.stream_transcript import StreamTranscript
from flask_gateway.model.errors import UpstreamCut, UpstreamMalformed


def buffered() -> BufferedTranscript:
    return BufferedTranscript(StreamTranscript(make_call(stream=True), "up"), "up")


def test_nothing_passes_before_the_end_and_then_all_of_it() -> None:
    transcript, events = buffered(), [chunk("a"), chunk("b"), chunk(finish="stop")]
    for event in events:
        assert transcript.feed(sse(event, done=False)) == b""
        assert transcript.begun
        assert not transcript.ready
        assert transcript.usage is None
    assert transcript.feed(b"data: [DONE]\n\n") == sse(*events)
    assert transcript.ready
    assert transcript.finished
    assert transcript.usage is not None


def test_a_missing_last_event_is_added_at_the_end() -> None:
    transcript = buffered()
    transcript.feed(sse(chunk("a"), chunk(finish="stop"), done=False))
    assert transcript.end() == sse(chunk("a"), chunk(finish="stop"))


def test_a_fault_leaves_the_error_alone() -> None:
    transcript = buffered()
    transcript.feed(sse(chunk("secret"), done=False))
    event = transcript.cut(UpstreamCut("It broke.", upstream="up"))
    assert b"It broke." in event
    assert b"secret" not in event


def test_the_buffer_is_bounded_and_the_message_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffered_transcript, "MAX_WHOLE", 100)
    transcript = buffered()
    with pytest.raises(UpstreamMalformed, match="x-gateway-stream: live"):
        transcript.feed(sse(chunk("x" * 200), done=False))
