"""The events of streams of sound, transcripts and pictures."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from kit.media_calls import FakeUpload, media_call

from flask_gateway.dialects.media_events import MediaReader
from flask_gateway.dialects.media_transcripts import MediaStream
from flask_gateway.dialects.transcripts import transcript_for
from flask_gateway.model.call import Operation
from flask_gateway.model.errors import UpstreamCut, UpstreamError

USAGE = {"input_tokens": 20, "output_tokens": 7, "total_tokens": 27}


def reader(operation: Operation = Operation.TRANSCRIPTION, **fields: Any) -> MediaReader:
    return MediaReader(media_call(operation, stream=True, upload=FakeUpload(), **fields))


def data(**fields: Any) -> bytes:
    return msgspec.json.encode(fields)


def stream(operation: Operation, *parts: bytes, **fields: Any) -> tuple[MediaStream, bytes]:
    call = media_call(operation, stream=True, upload=FakeUpload(seconds=30), **fields)
    transcript = transcript_for(call, "up")
    assert isinstance(transcript, MediaStream)
    out = b"".join(transcript.feed(part) for part in parts)
    return transcript, out + transcript.end()


def event(**fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (fields["type"].encode(), data(**fields))


def test_a_transcript_is_complete_with_its_last_event() -> None:
    read = reader()
    assert read.read(data(type="transcript.text.delta", delta="Hello"))
    assert not read.read(data(type="transcript.text.delta", delta=""))
    assert not read.complete
    assert read.read(data(type="transcript.text.done", text="Hello", usage=USAGE))
    assert read.complete
    assert read.usage is not None
    assert read.usage.completion_tokens == 7
    assert read.tally.tokens == 2


def test_two_pictures_have_two_last_events() -> None:
    read = reader(Operation.IMAGE, n=2)
    assert read.read(data(type="image_generation.partial_image", b64_json="AA"))
    read.read(data(type="image_generation.completed", b64_json="AA"))
    assert not read.complete
    read.read(data(type="image_generation.completed", b64_json="AA", usage=USAGE))
    assert read.complete


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "error", "error": {"message": "No.", "code": "x"}},
        {"error": {"message": "No.", "type": "server_error"}},
        {"object": "error", "message": "No."},
    ],
)
def test_an_error_in_any_shape(fields: dict[str, Any]) -> None:
    read = reader()
    assert not read.read(data(**fields))
    assert read.error


def test_an_event_of_another_shape_is_read_too() -> None:
    read = reader()
    assert read.read(b'{"type":"transcript.text.done","choices":1,"text":"a"}')
    assert read.complete
    with pytest.raises(ValueError, match="no object"):
        read.read(b"3")
    assert not read.read(b"{}")


def test_chunks_as_vllm_sends_them_end_with_done() -> None:
    chunk = {
        "object": "transcription.chunk",
        "choices": [{"delta": {"content": "Hi"}, "finish_reason": None}],
    }
    last = {"object": "transcription.chunk", "choices": [{"delta": {"content": ""}, "finish_reason": "stop"}]}
    parts = [b"data: " + msgspec.json.encode(one) + b"\n\n" for one in (chunk, last, chunk, last)]
    transcript, out = stream(Operation.TRANSCRIPTION, *parts, b"data: [DONE]\n\n")
    assert out.count(b"Hi") == 2
    assert transcript.usage is not None
    assert transcript.usage.units.seconds == 30
    with pytest.raises(UpstreamCut):
        stream(Operation.TRANSCRIPTION, *parts)


def test_a_stream_passes_byte_for_byte_and_an_early_end_is_a_cut() -> None:
    parts = [event(type="transcript.text.delta", delta="a"), event(type="transcript.text.done", usage=USAGE)]
    transcript, out = stream(Operation.TRANSCRIPTION, *parts)
    assert out == b"".join(parts)
    assert transcript.usage is not None
    assert transcript.usage.prompt_tokens == 20
    with pytest.raises(UpstreamCut):
        stream(Operation.TRANSCRIPTION, parts[0])


def test_a_stream_without_usage_is_estimated() -> None:
    parts = [event(type="transcript.text.delta", delta="four"), event(type="transcript.text.done")]
    transcript, _ = stream(Operation.TRANSCRIPTION, *parts)
    assert transcript.usage is not None
    assert (transcript.usage.units.seconds, transcript.usage.completion_tokens) == (30, 1)
    transcript, _ = stream(Operation.IMAGE, event(type="image_generation.completed"), prompt="A fox")
    assert transcript.usage is not None
    assert transcript.usage.units.images == 1


def test_a_server_that_does_not_stream_answers_in_events() -> None:
    _, out = stream(Operation.TRANSCRIPTION, b'{"text":"Hello","usage":{"type":"duration","seconds":3}}')
    assert out.count(b"event: transcript.text") == 2
    transcript, out = stream(Operation.IMAGE_EDIT, b'{"created":1,"data":[{"b64_json":"AA"}]}')
    assert b"event: image_edit.completed\n" in out
    assert transcript.usage is not None
    with pytest.raises(UpstreamError):
        stream(Operation.SPEECH, b'{"data":[]}', stream_format="sse")
