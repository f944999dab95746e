"""What an answer cost: asking for it, hiding what only we asked for, estimating what nobody reported.

An **estimate** is one: 4 characters of text are counted as a token, and each character of a script
without an alphabet (Chinese, Japanese, Korean) as one, and so is an emoji. For English that is within
some 20 %. Pictures and sound are not counted. Pure functions; text is counted as it passes, not kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from ..core import Call, Operation, Usage

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


class Tally:
    """Counts text as it passes."""

    __slots__ = ("_narrow", "_wide")

    def __init__(self) -> None:
        self._narrow = self._wide = 0

    def add(self, text: str) -> None:
        if text.isascii():
            self._narrow += len(text)
            return
        wide = len(_WIDE.findall(text))
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

    @property
    def tokens(self) -> int:
        return self._wide - (-self._narrow // NARROW_PER_TOKEN)


def estimate(fields: Mapping[str, msgspec.Raw], answer: Tally) -> Usage:
    """About what an answer has cost.

    :param fields: of the request. :param answer: has counted what was forwarded.
    """
    prompt = Tally()
    for name in _PROMPTS:
        if name in fields:
            prompt.add_all(_decoded(fields[name]))
    if "tools" in fields:
        prompt.add_bytes(len(bytes(fields["tools"])))
    return Usage(prompt.tokens, answer.tokens, source="estimated")


def tally_body(body: bytes) -> Tally:
    """What the answer in a JSON document says."""
    answer = Tally()
    answer.add_all(_decoded(msgspec.Raw(body)))
    return answer


def _decoded(raw: msgspec.Raw) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        return None


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
_LINE_END = re.compile(rb"\r\n|\n|\r")


def without_null_usage(event: bytes, data: bytes) -> bytes:
    """The event without its ``"usage": null``; the rest is unchanged but perhaps for blanks.

    :param data: the JSON in it, whose top level has that field.
    """
    # As these servers write it. An unescaped quote cannot stand in a text, so a single "usage" is the key.
    if data.count(b'"usage"') == 1 and _NULL_USAGE in data and b"\n" not in event:
        return event.replace(_NULL_USAGE, b"", 1)
    fields = _decode_top(data)
    fields.pop("usage", None)
    lines = [line for line in _LINE_END.split(event) if not line.startswith(b"data")]
    return b"\n".join([*lines, b"data: " + msgspec.json.encode(fields)])
