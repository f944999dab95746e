"""What an answer cost: asking for it, hiding what only we asked for, estimating what nobody reported.

An **estimate** is one: 4 characters of text are counted as a token, and each character of a script
without an alphabet (Chinese, Japanese, Korean) as one, and so is an emoji. For English that is within
some 20 %. Pictures and sound are not counted. Text is counted as it passes, not kept; a prompt is counted in
its bytes. To count a large one takes up to 0.3 s, in slices: it is no work for the relay's thread.
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

#: Characters of an alphabet that make a token.
NARROW_PER_TOKEN = 4

# Jamo; CJK radicals to the unified ideographs and Yi; Hangul; compatibility and full-width forms; emoji;
# the supplementary ideographs.
_WIDE = re.compile(
    "[\u1100-\u11ff\u2e80-\ua4cf\uac00-\ud7af\uf900-\ufaff\uff00-\uffef"
    "\U0001f000-\U0001faff\U00020000-\U0003ffff]"
)

#: The operations whose streams report usage when asked by ``stream_options``.
_ASKED = frozenset({Operation.CHAT, Operation.COMPLETION})
#: What a model reads of a request ...
_PROMPTS = ("messages", "prompt", "input", "instructions")
#: ... and in what follows the text in it stands, of a message, a part or an answer.
_TEXTS = (
    "content",
    "text",
    "message",
    "reasoning_content",
    "refusal",
    "tool_calls",
    "function_call",
    "function",
    "name",
    "arguments",
    "output",
    "choices",
)
#: No request nests its text deeper.
_DEPTH = 10
#: Of longer texts, characters, the wide ones are counted in their bytes.
_LONG = 4096
#: A list of more values than this is counted as JSON that is read as it is.
_MAX_VALUES = 400_000
#: Options of a stream that are longer than this, bytes, are none.
_MAX_OPTIONS = 4096


#: An object of which nothing but its texts is looked at.
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
        """JSON that the model reads as it is."""
        self._narrow += count

    def add_all(self, value: Any, depth: int = _DEPTH) -> None:
        """The text in messages, prompts, parts or choices; of a prompt in token ids, their number."""
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
        """The same of JSON that has not been decoded. What is none counts nothing."""
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
    """About what an answer has cost.

    :param fields: of the request. :param answer: has counted what was forwarded.
    """
    prompt, prompts = Tally(), [fields[name] for name in _PROMPTS if name in fields]
    with taking_turns(sum(len(memoryview(one)) for one in prompts)):
        for one in prompts:
            prompt.add_json(one)
    if "tools" in fields:
        prompt.add_bytes(len(memoryview(fields["tools"])))
    return Usage(prompt.tokens, answer.tokens, source="estimated")


def tally_body(body: bytes) -> Tally:
    """What the answer in a JSON document says."""
    answer = Tally()
    with taking_turns(len(body)):
        answer.add_json(body.lstrip())
    return answer


def _decoded(raw: msgspec.Raw) -> Any:
    if len(memoryview(raw)) > _MAX_OPTIONS:
        return _TOO_LONG
    try:
        return msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        return None


#: What a value is taken for that nobody needs so long.
_TOO_LONG = object()


def asking_for_usage(call: Call) -> Call:
    """The call with its stream's usage asked for; the very same call when the caller did so itself.

    Also the same when it cannot be asked for: no stream, another dialect, options of an odd shape.
    """
    if not call.stream or call.operation not in _ASKED:
        return call
    said = _decoded(call.fields["stream_options"]) if "stream_options" in call.fields else None
    options = {} if said is None else said
    if not isinstance(options, dict) or options.get("include_usage") not in (None, False):
        return call
    asking = msgspec.Raw(msgspec.json.encode({**options, "include_usage": True}))
    return msgspec.structs.replace(call, fields={**call.fields, "stream_options": asking})


_decode_top = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_NULL_USAGE = b',"usage":null'


def without_null_usage(event: bytes, data: bytes) -> bytes:
    """The event without its ``"usage": null``; the rest is unchanged but perhaps for blanks.

    :param data: the JSON in it, whose top level has that field.
    """
    # As these servers write it. An unescaped quote cannot stand in a text, so a single "usage" is the key.
    if data.count(b'"usage"') == 1 and _NULL_USAGE in data and b"\n" not in event:
        return event.replace(_NULL_USAGE, b"", 1)
    fields = _decode_top(data)
    fields.pop("usage", None)
    return with_data(event, msgspec.json.encode(fields))
