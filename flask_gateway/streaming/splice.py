"""Joins the two parts of a resumed answer: collects the first, builds the second call, rewrites its chunks.

It does no I/O. It works on chat chunks as a transcript passes them: complete events, each ended by an empty
line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ..dialects.sse import EventSplitter, data_of
from ..model.call import Call, Continues, Operation, Usage

#: The longest partial answer that can be continued, characters.
MAX_TEXT = 1024 * 1024
#: Options longer than this, bytes, are not decoded.
MAX_OPTION = 4096
#: The fields that identify an answer. They are the same on every chunk.
_NAMES = ("id", "created", "model")
_NOTHING = frozenset({b"null", b'""', b"[]", b"{}"})

Raw = msgspec.Raw


class PartialAnswer(msgspec.Struct, frozen=True):
    """The text of an answer that broke, and its approximate number of tokens."""

    text: str
    tokens: int


# ---------------------------------------------------------------- the second call


class _Message(msgspec.Struct):
    role: str = ""


_decode_messages = msgspec.json.Decoder(list[Raw]).decode
_decode_roles = msgspec.json.Decoder(list[_Message]).decode


def may_continue(call: Call) -> bool:
    """Return whether the call's answer could be continued: a chat stream with one choice and only text."""
    if call.operation is not Operation.CHAT or not call.stream or call.whole:
        return False
    if call.decoded("n", MAX_OPTION) not in (None, 1):
        return False
    if any(call.decoded(name, MAX_OPTION) for name in ("logprobs", "echo", "continue_final_message")):
        return False
    try:
        roles = _decode_roles(call.fields["messages"])
    except (KeyError, ValueError, RecursionError):
        return False
    return bool(roles) and roles[-1].role != "assistant"


def resumed(call: Call, beginning: PartialAnswer, how: Continues) -> Call:
    """Build the call that requests the rest of the answer."""
    message: dict[str, Any] = {"role": "assistant", "content": beginning.text}
    changed: dict[str, Any] = {}
    if how is Continues.PREFIX:
        message["prefix"] = True
    if how is Continues.VLLM:
        changed |= {"continue_final_message": True, "add_generation_prompt": False}
    changed["messages"] = [*_decode_messages(call.fields["messages"]), message]
    for name, least in (("max_tokens", 1), ("max_completion_tokens", 1), ("min_tokens", 0)):
        limit = call.decoded(name, MAX_OPTION)
        if isinstance(limit, int):
            changed[name] = max(least, limit - beginning.tokens)
    fields = {name: Raw(msgspec.json.encode(value)) for name, value in changed.items()}
    return msgspec.structs.replace(call, fields={**call.fields, **fields})


# ---------------------------------------------------------------- the first part


class _Choice(msgspec.Struct):
    index: int = 0
    delta: dict[str, Any] | None = None


class _Chunk(msgspec.Struct):
    id: Raw = Raw()
    created: Raw = Raw()
    model: Raw = Raw()
    choices: list[_Choice] | None = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode


class PartialAnswerReader:
    """Reads the chunks of the first part that the caller receives, and keeps their text."""

    def __init__(self) -> None:
        self._events = EventSplitter()
        self.names: dict[str, Raw] = {}
        self._texts: list[str] = []
        self._size = 0
        self._fits = True

    @property
    def text(self) -> str:
        return "".join(self._texts)

    @property
    def resumable(self) -> bool:
        """Whether the answer contains text, and only text."""
        return self._fits and self._size > 0

    def feed(self, data: bytes) -> None:
        if not self._fits:
            return
        for event in self._events.feed(data):
            payload = data_of(event)
            if payload is not None and payload.strip() != b"[DONE]":
                self._fits = self._fits and self._read(payload)
        if not self._fits:
            self._texts.clear()

    def _read(self, payload: bytes) -> bool:
        """Read a chunk. Return whether another upstream can continue after it."""
        try:
            chunk = _decode_chunk(payload)
        except (ValueError, RecursionError):
            return False
        # Some servers begin with a chunk that has no choices and no id.
        if len(self.names) < len(_NAMES) and chunk.choices:
            missing = {name: getattr(chunk, name) for name in _NAMES if name not in self.names}
            self.names |= {name: raw.copy() for name, raw in missing.items() if bytes(raw)}
        for choice in chunk.choices or ():
            delta = {name: value for name, value in (choice.delta or {}).items() if value and name != "role"}
            text = delta.pop("content", "")
            if choice.index or delta or not isinstance(text, str):
                return False
            if text:
                self._texts.append(text)
                self._size += len(text)
        return self._size <= MAX_TEXT


# ---------------------------------------------------------------- the second part

_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_choices = msgspec.json.Decoder(list[dict[str, Raw]]).decode


class _Count(msgspec.Struct):
    completion_tokens: int = 0


class ChunkRewriter:
    """Rewrites the chunks of the second part as chunks of the first part's answer.

    :param names: the first part's id, time and model. :param before: the first part's tokens.
    """

    def __init__(self, names: Mapping[str, Raw], before: Usage) -> None:
        self._events = EventSplitter()
        self._names = names
        self._before = before

    def rewrite(self, data: bytes) -> bytes:
        return b"".join([self._event(event, data_of(event)) for event in self._events.feed(data)])

    def total(self, after: Usage | None) -> Usage:
        """Return the tokens of both parts: the prompt once, and all completion tokens."""
        before = self._before
        if after is None:
            return before
        both_reported = before.source == after.source == "reported"
        return msgspec.structs.replace(
            before,
            completion_tokens=before.completion_tokens + after.completion_tokens,
            source="reported" if both_reported else "estimated",
        )

    def _event(self, event: bytes, payload: bytes | None) -> bytes:
        if payload is None or payload.strip() == b"[DONE]":
            return event + b"\n\n"
        try:
            chunk = _decode_object(payload)
            choices = _decode_choices(chunk["choices"])
            has_content = [self._choice(choice) for choice in choices]
            usage = self._usage(chunk["usage"]) if "usage" in chunk else None
        except (KeyError, ValueError, RecursionError):
            return event + b"\n\n"  # an unknown shape passes unchanged, as in other streams
        if choices and usage is None and not any(has_content):
            return b""  # an opening chunk: the caller has received one already
        fields: dict[str, Any] = {**chunk, **self._names, "choices": choices}
        if usage is not None:
            fields["usage"] = usage
        return b"data: " + msgspec.json.encode(fields) + b"\n\n"

    @staticmethod
    def _choice(choice: dict[str, Raw]) -> bool:
        """Remove the role from a choice. Return whether the choice has other content."""
        has_content = bytes(choice.get("finish_reason", b"null")) != b"null"
        if "delta" in choice and bytes(choice["delta"]) != b"null":
            delta = _decode_object(choice["delta"])
            delta.pop("role", None)
            choice["delta"] = Raw(msgspec.json.encode(delta))
            has_content = has_content or any(bytes(value) not in _NOTHING for value in delta.values())
        return has_content

    def _usage(self, usage: Raw) -> dict[str, int] | None:
        """Return the ``usage`` object with the sums of both parts; ``None`` if the chunk has none."""
        after = msgspec.json.decode(usage, type=_Count | None)
        if after is None:
            return None
        total = self.total(Usage(completion_tokens=after.completion_tokens))
        prompt, completion = total.prompt_tokens, total.completion_tokens
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }
