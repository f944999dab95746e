"""Chooses the transcript of an answer: of one document, of a stream, or of a stream that is buffered.

A transcript reads an answer as its bytes pass: whether it is good, whether it is complete, what it cost.
All transcripts are sans-IO (``model.reply.Transcript``): a thread, a test or a selector loop may feed them.
"""

from __future__ import annotations

from ..model.call import Call
from .body_transcript import BodyTranscript
from .buffered_transcript import BufferedTranscript
from .redaction import Redaction
from .stream_transcript import Completed, StreamTranscript


def transcript_for(
    call: Call,
    upstream: str,
    *,
    hides_usage: bool = False,
    completed: Completed | None = None,
    redaction: Redaction | None = None,
) -> BodyTranscript | StreamTranscript | BufferedTranscript:
    """The transcript of an answer to ``call`` from the upstream of that name.

    :param hides_usage: the caller did not ask for its stream's usage, we did.
    :param completed: told when a stream is complete by what it says, though it has not ended.
    :param redaction: what is not to be seen in it.
    """
    if not call.stream:
        return BodyTranscript(call, upstream, redaction)
    events = StreamTranscript(
        call, upstream, hides_usage=hides_usage, completed=completed, redaction=redaction
    )
    return BufferedTranscript(events, upstream) if call.whole else events
