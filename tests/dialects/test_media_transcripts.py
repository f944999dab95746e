"""Answers with sound, transcripts and pictures: what passes when, and what it used."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from kit.media_calls import FakeUpload, media_call

from flask_gateway.dialects.media_transcripts import MAX_PICTURES, BytesTranscript, MediaBody
from flask_gateway.dialects.redaction import Redaction
from flask_gateway.dialects.transcripts import transcript_for
from flask_gateway.model.call import Operation, Usage
from flask_gateway.model.errors import (
    UpstreamCut,
    UpstreamError,
    UpstreamMalformed,
    UpstreamShowsPage,
)


def sound(content_type: str | None = "audio/mpeg") -> BytesTranscript:
    transcript = transcript_for(media_call(Operation.SPEECH, stream=True, input="Hello"), "up")
    assert isinstance(transcript, BytesTranscript)
    transcript.typed(content_type)
    return transcript


def plain(content_type: str = "text/plain", redaction: Redaction | None = None) -> BytesTranscript:
    call = media_call(Operation.TRANSCRIPTION, upload=FakeUpload(seconds=5), response_format="srt")
    transcript = transcript_for(call, "up", redaction=redaction)
    assert isinstance(transcript, BytesTranscript)
    transcript.typed(content_type)
    return transcript


def document(operation: Operation, answer: Any, **fields: Any) -> Usage:
    transcript = transcript_for(media_call(operation, upload=FakeUpload(seconds=7), **fields), "up")
    assert isinstance(transcript, MediaBody)
    transcript.feed(msgspec.json.encode(answer))
    transcript.end()
    assert transcript.usage is not None
    return transcript.usage


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        ("audio/mpeg", "audio/mpeg"),
        ("Audio/WAV; rate=1", "audio/wav"),
        ("text/plain", "application/octet-stream"),
        ("image/svg+xml", "application/octet-stream"),
        (None, "application/octet-stream"),
    ],
)
def test_sound_passes_as_it_comes_under_a_known_type(given: str | None, passed: str) -> None:
    transcript = sound(given)
    assert not transcript.begun
    assert transcript.feed(b"\xff\x00") == b"\xff\x00"
    assert transcript.begun
    assert transcript.end() == b""
    assert transcript.content_type == passed
    assert transcript.usage is not None
    assert transcript.usage.units.characters == 5


def test_a_cut_of_sound_says_nothing() -> None:
    transcript = sound()
    transcript.feed(b"\xff")
    assert transcript.cut(UpstreamCut("It broke off.")) == b""
    assert transcript.ping == b""


@pytest.mark.parametrize(
    ("kind", "body", "error"),
    [
        ("audio/mpeg", b"", UpstreamMalformed),
        ("application/json", b'{"error":{"message":"No voice."}}', UpstreamError),
        ("application/json", b'{"text":"Hello"}', UpstreamMalformed),
        ("application/json", b"{", UpstreamMalformed),
        ("text/html", b"<html><title>Login</title></html>", UpstreamShowsPage),
        ("application/json", b"x" * 70_000, UpstreamMalformed),
    ],
)
def test_no_sound_can_be_retried(kind: str, body: bytes, error: type[UpstreamError]) -> None:
    transcript = sound(kind)

    def read() -> None:
        for at in range(0, len(body), 1000):
            assert transcript.feed(body[at : at + 1000]) == b""
        transcript.end()

    with pytest.raises(error):
        read()
    assert not transcript.ready
    assert transcript.usage is None


def test_a_plain_transcript_is_collected() -> None:
    transcript = plain()
    assert transcript.feed(b"1\n00:00") == b""
    assert not transcript.ready
    assert transcript.end() == b"1\n00:00"
    assert transcript.content_type == "text/plain; charset=utf-8"
    assert transcript.usage is not None
    assert transcript.usage.units.seconds == 5
    assert transcript.catch_up() == b""


def test_a_plain_transcript_has_no_key_in_it_and_may_be_a_document() -> None:
    transcript = plain("application/json", Redaction.of("secret-key-1"))
    transcript.feed(b'{"text":"secret-key-1"}')
    assert transcript.end() == b'{"text":"[redacted]"}'
    assert transcript.content_type == "application/json"


def test_the_usage_of_a_transcript() -> None:
    reported = document(Operation.TRANSCRIPTION, {"text": "a", "usage": {"type": "duration", "seconds": 9}})
    assert (reported.units.seconds, reported.source) == (9, "reported")
    verbose = document(Operation.TRANSCRIPTION, {"text": "four", "duration": "42.7"})
    assert (verbose.units.seconds, verbose.completion_tokens, verbose.source) == (43, 1, "estimated")
    assert document(Operation.TRANSCRIPTION, {"text": "a"}).units.seconds == 7


def test_the_usage_of_pictures() -> None:
    two = {"created": 1, "data": [{"b64_json": "AA"}, {"b64_json": "AA"}]}
    assert document(Operation.IMAGE, two, prompt="A fox").units.images == 2
    tokens = {"input_tokens": 11, "output_tokens": 4160, "total_tokens": 4171}
    usage = document(Operation.IMAGE, two | {"usage": tokens}, prompt="A fox")
    assert (usage.prompt_tokens, usage.units.images, usage.source) == (11, 2, "reported")


def test_a_document_without_pictures_is_malformed_and_may_be_large() -> None:
    transcript = transcript_for(media_call(Operation.IMAGE, prompt="A fox"), "up")
    assert isinstance(transcript, MediaBody)
    assert transcript._largest == MAX_PICTURES
    transcript.feed(b'{"created":1}')
    with pytest.raises(UpstreamMalformed, match="no 'data'"):
        transcript.end()
