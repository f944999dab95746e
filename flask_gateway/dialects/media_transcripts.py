"""Reads answers with sound, transcripts and pictures: bare bytes, documents, and streams of events."""

from __future__ import annotations

from typing import Any

import msgspec

from ..model.call import HEARING, PICTURES, Call, Operation, Usage
from ..model.errors import SEND_AGAIN, GatewayError, UpstreamError, UpstreamMalformed
from .body_transcript import MAX_BODY, AnswerFields, BodyTranscript
from .error_mapping import MAX_ERROR_BODY, page_error, reported_error
from .expected_choices import choices_of
from .media_usage import expected_usage, heard, pictured, reported_usage, whole_seconds
from .redaction import Redaction
from .stream_transcript import MAX_STREAM, StreamTranscript
from .usage import Tally
from .values import error_in

#: The largest document with pictures, bytes.
MAX_PICTURES = 2 * MAX_BODY
#: The content types that pass. A page that a browser would show is not among them.
_SOUND = frozenset(
    f"audio/{name}"
    for name in (
        "mpeg",
        "mp3",
        "ogg",
        "opus",
        "aac",
        "flac",
        "wav",
        "x-wav",
        "wave",
        "pcm",
        "l16",
        "webm",
        "mp4",
    )
)
_TEXTS = frozenset({"text/plain", "text/vtt", "application/x-subrip"})
_OTHER = "application/octet-stream"
#: The formats of a transcript that are no JSON.
_PLAIN = (b'"text"', b'"srt"', b'"vtt"')


def is_sound(call: Call) -> bool:
    """Whether the answer is bare sound, passed on as it comes."""
    return call.operation is Operation.SPEECH and bytes(call.fields.get("stream_format", b"")) != b'"sse"'


def is_plain_text(call: Call) -> bool:
    """Whether the answer is a transcript in plain text."""
    return call.operation in HEARING and bytes(call.fields.get("response_format", b"")) in _PLAIN


class BytesTranscript:
    """An answer that is no JSON (``model.transcript.Transcript``): sound, or a transcript in plain text.

    Sound passes as it comes. It has no error event: after a cut the caller's connection is closed. Text is
    collected, so that another upstream can be asked after a cut.
    """

    finished = complete = postpones = False
    dropped = 0
    #: Sound cannot be kept open by bytes that say nothing.
    ping = b""

    def __init__(self, call: Call, upstream: str, redaction: Redaction | None = None) -> None:
        self.content_type = _OTHER
        self.ready = False
        self._call = call
        self._upstream = upstream
        self._redaction = redaction
        self._passes = is_sound(call)
        self._known = _SOUND if self._passes else _TEXTS
        self._size, self._largest = 0, MAX_STREAM if self._passes else MAX_BODY
        self._parts: list[bytes] = []
        self._is_document = False

    @property
    def begun(self) -> bool:
        return self.ready

    @property
    def usage(self) -> Usage | None:
        """The estimate of what was asked for, as soon as the answer has begun."""
        return expected_usage(self._call) if self.ready else None

    def typed(self, content_type: str | None) -> None:
        """Note the content type of the upstream's answer. A page or a document is collected."""
        kind = (content_type or "").partition(";")[0].strip().lower()
        if kind in self._known:
            self.content_type = f"{kind}; charset=utf-8" if kind in _TEXTS else kind
        elif kind in ("application/json", "text/html"):
            self._is_document = True
            if self._passes:
                self._passes, self._largest = False, MAX_ERROR_BODY

    def feed(self, data: bytes) -> bytes:
        self._size += len(data)
        if self._size > self._largest:
            raise self._malformed(f"more than {self._largest} bytes")
        if self._passes:
            self.ready = True
            return data
        self._parts.append(data)
        return b""

    def end(self) -> bytes:
        """:raises UpstreamError: the answer is empty, a page, or a document where sound was asked for."""
        if not self._size:
            raise self._malformed("nothing")
        if self._passes:
            return b""
        body = b"".join(self._parts)
        if self._redaction is not None:
            body = self._redaction.redact(body)
        if self._is_document:
            self._check_document(body)
            self.content_type = "application/json"
        self.ready = True
        return body

    def _check_document(self, body: bytes) -> None:
        if page := page_error(200, body, self._upstream):
            raise page
        try:
            document: Any = msgspec.json.decode(body)
        except (ValueError, RecursionError):
            raise self._malformed("a document that cannot be read") from None
        if error := error_in(document):
            raise reported_error(error, self._upstream)
        if self._call.operation is Operation.SPEECH:
            raise self._malformed("a JSON document instead of sound")

    def catch_up(self) -> bytes:
        """Return nothing: nothing is postponed."""
        return b""

    def cut(self, error: GatewayError) -> bytes:
        """Return nothing: the caller's connection is closed instead."""
        return b""

    def _malformed(self, what: str) -> UpstreamError:
        message = f"Upstream '{self._upstream}' answered 200 with {what}, which is no answer to this request."
        return UpstreamMalformed(f"{message} {SEND_AGAIN}", upstream=self._upstream)


class _Duration(msgspec.Struct, gc=False):
    """The length of the sound in a ``verbose_json`` transcript."""

    duration: Any = None
    text: Any = None


_decode_duration = msgspec.json.Decoder(_Duration).decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode


class MediaBody(BodyTranscript):
    """A transcript or pictures in one JSON document."""

    def __init__(self, call: Call, upstream: str, redaction: Redaction | None = None) -> None:
        super().__init__(call, upstream, redaction)
        self._largest = MAX_PICTURES if call.operation in PICTURES else MAX_BODY
        self._required = "data" if call.operation in PICTURES else None

    def _usage(self, seen: AnswerFields, body: bytes, read: bytes) -> Usage | None:
        if self._operation in PICTURES:
            images = _count(seen.data) or choices_of(self._call)
            return reported_usage(self._call, seen.usage, images) or pictured(self._call, images)
        return reported_usage(self._call, seen.usage) or self._heard(read)

    def _heard(self, read: bytes) -> Usage:
        try:
            found = _decode_duration(read)
        except (ValueError, RecursionError):
            return expected_usage(self._call)
        tally = Tally()
        tally.add_all(found.text)
        seconds = whole_seconds(found.duration)
        return heard(seconds or expected_usage(self._call).parts["seconds"], tally.tokens or None)


def _count(raw: msgspec.Raw) -> int:
    try:
        return len(_decode_list(raw))
    except (ValueError, RecursionError):
        return 0


class MediaStream(StreamTranscript):
    """A stream of events of sound, a transcript or pictures."""

    __slots__ = ()

    @property
    def usage(self) -> Usage | None:
        reported: Usage | None = self._reader.usage  # type: ignore[attr-defined]  # the reader of these dialects
        if reported is not None or not self.ready:
            return reported
        estimate = expected_usage(self._call)
        if self._call.operation in HEARING:
            return heard(estimate.parts["seconds"], self._reader.tally.tokens or None)
        return estimate

    @property
    def counts_request(self) -> bool:
        return False
