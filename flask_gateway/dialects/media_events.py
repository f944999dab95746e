"""Reads the events of streams of sound, transcripts and pictures.

https://platform.openai.com/docs/api-reference: ``transcript.text.delta``, ``speech.audio.delta``,
``image_generation.partial_image``, and a last event of each kind with the usage. There is no ``[DONE]``.
vLLM streams transcripts in the chunks of chat, with ``[DONE]``.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..model.call import Call, Usage
from .chunks import ChoiceReader
from .expected_choices import choices_of
from .media_usage import reported_usage
from .reported_usage import ReportedUsage
from .usage import Tally
from .values import error_in, is_error, is_sign_of_life


class _Event(msgspec.Struct, gc=False):
    """The fields that are decoded. The others may be pictures of many megabytes."""

    type: str = ""
    delta: Any = None
    error: Any = None
    usage: Any = None
    choices: msgspec.Raw = msgspec.Raw()


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_any = msgspec.json.Decoder(Any).decode

#: The last event of each kind; one for each picture.
_END = frozenset(
    {"transcript.text.done", "speech.audio.done", "image_generation.completed", "image_edit.completed"}
)


class MediaReader:
    """Reads the events of one stream, in order (``dialect.Reader``).

    :ivar usage: as the upstream reported it; ``None``: it has not.
    """

    usage_only = usage_null = ended_in_content = False

    def __init__(self, call: Call) -> None:
        self.complete = self.finished = False
        self.reported = ReportedUsage()
        self.error: object = None
        self.tally = Tally()
        self.usage: Usage | None = None
        self._call = call
        self._left = choices_of(call)
        self._chunks: ChoiceReader | None = None

    @property
    def may_end(self) -> bool:
        """Whether ``[DONE]`` ends the answer: it does after chunks. Each half minute of sound has a finish
        reason of its own, so these do not count."""
        return self._chunks is not None

    def read(self, data: bytes) -> bool:
        try:
            event = _decode_event(data)
        except msgspec.ValidationError:
            return self.read_object(_decode_any(data))
        if event.error or not event.type or event.type == "error":
            return self._read_untyped(_decode_any(data))
        return self._read_event(event)

    def read_object(self, document: Any) -> bool:
        """:raises ValueError: it is no object."""
        if not isinstance(document, dict):
            self.error = error_in(document)
            if self.error is None:
                raise ValueError("no object")
            return False
        kind = document.get("type")
        if document.get("error") or not isinstance(kind, str) or kind in ("", "error"):
            return self._read_untyped(document)
        return self._read_event(_Event(kind, document.get("delta"), usage=document.get("usage")))

    def _read_event(self, event: _Event) -> bool:
        if event.type in _END:
            self._left -= 1
            self.complete = self._left <= 0
            self.usage = reported_usage(self._call, event.usage) or self.usage
            return True
        if event.type == "transcript.text.delta" and isinstance(event.delta, str):
            self.tally.add(event.delta)
            return bool(event.delta)
        return not is_sign_of_life(event.type)

    def _read_untyped(self, document: Any) -> bool:
        """Read an error in any of its shapes, or a chunk as chat has."""
        if not isinstance(document, dict):
            raise ValueError("no object")
        if "choices" in document:
            return self._read_chunk(document)
        error = document.get("error")
        self.error = error if is_error(error) else error_in(document)
        return False

    def _read_chunk(self, document: dict[str, Any]) -> bool:
        if self._chunks is None:
            self._chunks = ChoiceReader(self._call)
            self._chunks.tally = self.tally
        content = self._chunks.read_object(document)
        self.error = self._chunks.error
        self.usage = reported_usage(self._call, document.get("usage")) or self.usage
        return content
