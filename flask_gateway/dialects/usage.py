"""Asks upstreams for a stream's usage, hides it from callers who did not ask, and estimates it if missing.

An **estimate** counts 4 characters of text as one token. A character of a script without an alphabet
(Chinese, Japanese, Korean) counts as one token, and so does an emoji. For English the error is within some
20 %. Pictures and sound are not counted. Text is counted as it passes and is not kept. A prompt is counted in
its bytes. A large prompt takes up to 0.3 s, in slices: do not count it on the relay's thread.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec

from ..model.call import Call, Operation, Usage
from ..model.large_json import SLICE, pausing, slices, taking_turns
from .sse import with_data
from .text_count import count_characters, count_values, count_whole_numbers, count_wide, has_only_numbers

#: Characters of an alphabet that count as one token.
NARROW_PER_TOKEN = 4

# Jamo; CJK radicals to the unified ideographs and Yi; Hangul; compatibility and full-width forms; emoji;
# the supplementary ideographs.
_WIDE = re.compile(
    "[\u1100-\u11ff\u2e80-\ua4cf\uac00-\ud7af\uf900-\ufaff\uff00-\uffef"
    "\U0001f000-\U0001faff\U00020000-\U0003ffff]"
)

#: The operations whose streams report usage when ``stream_options`` asks for it.
_ASKED = frozenset({Operation.CHAT, Operation.COMPLETION})
#: Fields of a request that the model reads.
_PROMPTS = (
    *("messages", "prompt", "input", "instructions", "system"),
    *("contents", "systemInstruction", "content", "requests"),
)
#: Fields of a message, a part or an answer that hold text.
_TEXTS = (
    "content",
    "text",
    "message",
    "reasoning_content",
    "thinking",
    "refusal",
    "tool_calls",
    "function_call",
    "function",
    "name",
    "arguments",
    "output",
    "choices",
    "parts",
)
#: Text that is nested deeper is not counted.
_DEPTH = 10
#: In a text longer than this, characters, the wide characters are counted in its bytes.
_LONG = 4096
#: A list of more values than this is not decoded: all its bytes count.
_MAX_VALUES = 400_000
#: Longer ``stream_options``, bytes, are not decoded.
_MAX_OPTIONS = 4096


#: An object of which only the texts are decoded.
_Texts = msgspec.defstruct("_Texts", [(name, msgspec.Raw, msgspec.Raw()) for name in _TEXTS])
_decode_texts = msgspec.json.Decoder(_Texts).decode
_decode_values = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Tally:
    """Counts text as it passes."""

    __slots__ = ("_narrow", "_wide")

    def __init__(self) -> None:
        self._narrow = self._wide = 0

    def add(self, text: str) -> None:
        if text.isascii():
            self._narrow += len(text)
            return
        wide = len(_WIDE.findall(text)) if len(text) <= _LONG else count_wide(text)
        self._wide += wide
        self._narrow += len(text) - wide

    def add_bytes(self, count: int) -> None:
        """Count bytes of JSON that the model reads undecoded."""
        self._narrow += count

    def add_all(self, value: Any, depth: int = _DEPTH) -> None:
        """Count the text in messages, prompts, parts or choices. A token id counts as one token."""
        if isinstance(value, str):
            self.add(value)
        elif isinstance(value, list) and depth:
            for item in value:
                if type(item) is int:
                    self._wide += 1
                else:
                    self.add_all(item, depth - 1)
        elif isinstance(value, dict) and depth:
            for name in _TEXTS:
                if name in value:
                    self.add_all(value[name], depth - 1)

    def add_json(self, raw: msgspec.Raw | bytes, depth: int = _DEPTH) -> None:
        """Like :meth:`add_all`, for JSON that has not been decoded. Invalid JSON counts as nothing."""
        view = memoryview(raw)
        first = bytes(view[:1])
        if first == b'"':
            self._add_text(view[1:-1])
        elif first == b"[" and depth:
            self._add_list(view, depth)
        elif first == b"{" and depth:
            with suppress(ValueError, RecursionError):
                for value in msgspec.structs.astuple(_decode_texts(view)):
                    self.add_json(value, depth - 1)

    def _add_text(self, text: memoryview) -> None:
        for piece in slices(text):
            characters, wide = count_characters(piece)
            self._wide += wide
            self._narrow += characters - wide

    def _add_list(self, values: memoryview, depth: int) -> None:
        if has_only_numbers(values):
            self._wide += count_whole_numbers(values)
        elif len(values) > SLICE and count_values(values) > _MAX_VALUES:
            self.add_bytes(len(values))
        else:
            with suppress(ValueError, RecursionError):
                for value in pausing(_decode_values(values)):
                    if bytes(memoryview(value)[:20]).lstrip(b"-").isdigit():
                        self._wide += 1
                    else:
                        self.add_json(value, depth - 1)

    @property
    def tokens(self) -> int:
        return self._wide - (-self._narrow // NARROW_PER_TOKEN)


def estimate(fields: Mapping[str, msgspec.Raw], answer: Tally) -> Usage:
    """Estimate the usage of a call.

    :param fields: the request's. :param answer: has counted the text that was forwarded.
    """
    prompt, prompts = Tally(), [fields[name] for name in _PROMPTS if name in fields]
    with taking_turns(sum(len(memoryview(field)) for field in prompts)):
        for field in prompts:
            prompt.add_json(field)
    if "tools" in fields:
        prompt.add_bytes(len(memoryview(fields["tools"])))
    return Usage(prompt.tokens, answer.tokens, source="estimated")


def tally_body(body: bytes) -> Tally:
    """Count the text of the answer in a JSON document."""
    answer = Tally()
    with taking_turns(len(body)):
        answer.add_json(body.lstrip())
    return answer


def asking_for_usage(call: Call) -> Call:
    """Return the call with ``include_usage`` set; the very same call when the caller has set it.

    Also the same call when it cannot be set: no stream, another dialect, options of an unknown shape.
    """
    if not call.stream or call.operation not in _ASKED:
        return call
    options = call.decoded("stream_options", _MAX_OPTIONS)
    options = {} if options is None else options
    if not isinstance(options, dict) or options.get("include_usage") not in (None, False):
        return call
    asking = msgspec.Raw(msgspec.json.encode({**options, "include_usage": True}))
    return msgspec.structs.replace(call, fields={**call.fields, "stream_options": asking})


_decode_top = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_NULL_USAGE = b',"usage":null'


def without_null_usage(event: bytes, data: bytes) -> bytes:
    """Remove ``"usage": null`` from an event. The rest is unchanged, except perhaps for blanks.

    :param data: the event's JSON, whose top level has that field.
    """
    # Servers write it so. JSON escapes quotes in texts, so a single "usage" with its quotes is the key.
    if data.count(b'"usage"') == 1 and _NULL_USAGE in data and b"\n" not in event:
        return event.replace(_NULL_USAGE, b"", 1)
    fields = _decode_top(data)
    fields.pop("usage", None)
    return with_data(event, msgspec.json.encode(fields))
