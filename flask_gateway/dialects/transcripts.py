"""Chooses the transcript of an answer: of one document, of a stream, or of a stream that is buffered.

A transcript reads an answer as its bytes pass. It decides whether the answer is good, whether it is complete,
and how many tokens it cost.
All transcripts are sans-IO (``model.transcript.Transcript``): threads, tests or a selector may feed them.
"""

from __future__ import annotations

from ..model.call import GEMINI, MEDIA, Call, Operation
from .body_transcript import BodyTranscript
from .buffered_transcript import BufferedTranscript
from .gemini_body import GeminiBody
from .media_transcripts import BytesTranscript, MediaBody, MediaStream, is_plain_text, is_sound
from .message_transcript import MessageTranscript
from .redaction import Redaction
from .stream_transcript import Completed, StreamTranscript

_MEDIA = frozenset(MEDIA)


def transcript_for(
    call: Call,
    upstream: str,
    *,
    hides_usage: bool = False,
    completed: Completed | None = None,
    redaction: Redaction | None = None,
) -> BodyTranscript | StreamTranscript | BufferedTranscript | BytesTranscript:
    """Return the transcript for an answer to ``call`` from the upstream of that name.

    :param hides_usage: the gateway asked for the stream's usage, the caller did not.
    :param completed: called when a stream's events make it complete, though the stream has not ended.
    :param redaction: removes the gateway's key from the answer.
    """
    if call.operation in _MEDIA:
        return _media_transcript(call, upstream, completed, redaction)
    if not call.stream:
        if call.operation in GEMINI:
            return GeminiBody(call, upstream, redaction)
        return BodyTranscript(call, upstream, redaction)
    kind = MessageTranscript if call.operation is Operation.MESSAGE else StreamTranscript
    events = kind(call, upstream, hides_usage=hides_usage, completed=completed, redaction=redaction)
    return BufferedTranscript(events, upstream) if call.whole else events


def _media_transcript(
    call: Call, upstream: str, completed: Completed | None, redaction: Redaction | None
) -> MediaBody | MediaStream | BytesTranscript:
    if is_sound(call) or (is_plain_text(call) and not call.stream):
        return BytesTranscript(call, upstream, redaction)
    if call.stream:
        return MediaStream(call, upstream, completed=completed, redaction=redaction)
    return MediaBody(call, upstream, redaction)
