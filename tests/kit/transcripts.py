"""Provides what the tests of transcripts share: a transcript of each kind, and a run through it."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from flask_gateway.dialects.transcripts import transcript_for
from flask_gateway.model.call import Operation
from flask_gateway.model.transcript import Transcript
from kit.calls import make_call


def stream(operation: Operation = Operation.CHAT, **more: bool) -> Transcript:
    call = msgspec.structs.replace(make_call(stream=True), operation=operation)
    return transcript_for(call, "llama", **more)


def run(transcript: Transcript, chunks: Iterable[bytes]) -> bytes:
    """All that a caller would get."""
    out = [transcript.feed(data) for data in chunks]
    return b"".join(out) + (b"" if transcript.finished else transcript.end())
