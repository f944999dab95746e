"""Reads the events of chat and text completions: choices with deltas, each ended by its finish reason."""

from __future__ import annotations

from typing import Any

import msgspec

from ..model.call import Call
from .expected_choices import choices_of
from .reported_usage import ReportedUsage
from .usage import Tally
from .values import Ending, ending, error_in, error_of_choice, is_error, says


class _Choice(msgspec.Struct, gc=False):
    """``gc=False``: decoded JSON has no reference cycles, and without the garbage collector it is cheaper."""

    index: Any = 0
    delta: Any = None
    text: Any = None
    message: Any = None
    finish_reason: Any = None
    error: Any = None
    usage: Any = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: Any = msgspec.UNSET
    error: Any = None


class _Rest(msgspec.Struct, gc=False):
    """Fields that some servers add to the last chunks."""

    x_groq: Any = None
    timings: Any = None
    service_tier: Any = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_rest = msgspec.json.Decoder(_Rest).decode
_decode_any = msgspec.json.Decoder(Any).decode

#: At most this many parts of a delta are counted.
MAX_PARTS = 1000
#: Fields of a delta that announce or name something, and carry no content.
_SILENT = frozenset({"role", "type", "index", "id", "name"})


class ChoiceReader:
    """Reads the events of one stream, in order (``openai.Reader``).

    :param call: says how many choices to expect.
    """

    finished = False

    __slots__ = (
        "_call",
        "_expected",
        "_finished",
        "_open",
        "complete",
        "ended_in_content",
        "error",
        "reported",
        "tally",
        "usage_null",
        "usage_only",
    )

    def __init__(self, call: Call) -> None:
        self.complete = self.ended_in_content = False
        self.reported = ReportedUsage()
        self.error: object = None
        self.tally = Tally()
        self.usage_only = self.usage_null = False
        self._call = call
        #: How many choices were requested; 0 until it is needed.
        self._expected = 0
        #: The indexes of the choices that have content and have not ended, and of those that have ended.
        self._open: set[int] = set()
        self._finished: set[int] = set()

    @property
    def may_end(self) -> bool:
        """Whether ``[DONE]`` ends the answer: no choice has a finish reason, or all that began have one.

        Some servers send no finish reasons, and some ignore how many choices were requested.
        """
        return not (self._open and self._finished)

    def read(self, data: bytes) -> bool:
        try:
            chunk = _decode_chunk(data)
        except msgspec.ValidationError:
            return self.read_object(_decode_any(data))
        choices = chunk.choices
        usual = chunk.error is None and chunk.usage is msgspec.UNSET
        if not usual or choices is None or len(choices) != 1:
            return self._read_unusual(chunk, data)
        self.error = None
        self.usage_only = self.usage_null = False
        content = self._read_choice(choices[0])
        if self.complete or not content:
            self._read_rest(_decode_rest(data))
        return content

    def _read_unusual(self, chunk: _Chunk, data: bytes) -> bool:
        """Read an event that is more, or less, than one choice."""
        if chunk.choices is None and chunk.usage is msgspec.UNSET and not chunk.error:
            return self._read_odd(_decode_any(data))
        content = self._read_chunk(chunk)
        if self.complete or not content:
            self._read_rest(_decode_rest(data))
        return content

    def read_object(self, document: Any) -> bool:
        """Like :meth:`read`, for an event that was repaired or has an unusual shape."""
        try:
            content = self._read_chunk(msgspec.convert(document, _Chunk))
            self._read_rest(msgspec.convert(document, _Rest))
            return content
        except msgspec.ValidationError:
            return self._read_odd(document)

    def _read_odd(self, document: Any) -> bool:
        """Read an event without choices: an error, or fields of no known meaning."""
        self.usage_only = self.usage_null = False
        self.error = error_in(document)
        if self.error is None and not isinstance(document, dict):
            raise ValueError("no object")
        if self.error is None:
            self.reported.add_document(document)
        return False

    def _read_chunk(self, chunk: _Chunk) -> bool:
        was_complete = self.complete
        content = False
        self.error = chunk.error if chunk.error and is_error(chunk.error) else None
        for choice in chunk.choices or ():
            content = self._read_choice(choice) or content
        usage = chunk.usage
        self.usage_null, self.usage_only = usage is None, False
        if usage is not None and usage is not msgspec.UNSET:
            # Some servers send an empty choice with the usage.
            self.usage_only = not chunk.choices or (was_complete and not content)
            self.reported.add(usage)
        return content

    def _read_rest(self, rest: _Rest) -> None:
        self.reported.add_timings(rest.timings)
        self.reported.add_service(rest.service_tier)
        if isinstance(rest.x_groq, dict):
            self.reported.add(rest.x_groq.get("usage"))
            self.error = self.error or rest.x_groq.get("error")

    def _read_choice(self, choice: _Choice) -> bool:
        """Read a choice. This runs once per event, so it is one function."""
        content = False
        delta = choice.delta or choice.message
        if type(delta) is dict:
            for name, value in delta.items():
                if value and name not in _SILENT:
                    if type(value) is str:  # the usual case
                        self.tally.add(value)
                        content = True
                    elif says(value):
                        self.tally.add_all(value[:MAX_PARTS] if type(value) is list else value)
                        content = True
        if choice.text and type(choice.text) is str:
            self.tally.add(choice.text)
            content = True
        if choice.usage or choice.error:
            self.reported.add(choice.usage)
            self.error = self.error or error_of_choice(choice.error, None)
        index = choice.index
        if type(index) is not int or index not in self._open or choice.finish_reason is not None:
            return self._read_ends(choice, content)
        return content

    def _read_ends(self, choice: _Choice, content: bool) -> bool:
        """Read a choice that begins, or may end. Return whether the event carries content."""
        index = choice.index if type(choice.index) is int else 0
        if choice.finish_reason is not None and self._has_ended(index, choice.finish_reason, content):
            return True
        if content and index in self._finished:
            self.ended_in_content = True  # the finish reason came too early
        elif content:
            self._open.add(index)
            self.complete = False
        return content

    def _has_ended(self, index: int, reason: Any, content: bool) -> bool:
        end = ending(reason)
        if end is Ending.BROKEN:
            self.error = self.error or error_of_choice(None, reason)
        if end is not Ending.WELL:
            return False
        self._finish(index, content)
        return True

    def _finish(self, index: int, content: bool) -> None:
        self._open.discard(index)
        self._finished.add(index)
        self._expected = self._expected or choices_of(self._call)
        self.ended_in_content = content
        self.complete = not self._open and len(self._finished) >= self._expected
