"""Reads what only traces show of a call: the id of its answer, the finish reasons, and texts on demand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ..dialects.sse import data_of
from ..model.call import Call
from ..model.reply import Reply
from . import content, genai
from .spans import Value

#: The largest answer whose id and finish reasons are read, bytes.
_READ = 1024 * 1024
#: How much of the beginning of a stream is searched for its id, bytes.
_BEGINNING = 64 * 1024
#: The most characters of an id or a reason.
_LONGEST = 256


class _Choice(msgspec.Struct, gc=False):
    finish_reason: Any = None


class _Inner(msgspec.Struct, gc=False):
    id: Any = None
    model: Any = None


class _Answer(msgspec.Struct, gc=False):
    id: Any = None
    model: Any = None
    choices: list[_Choice] | None = None
    stop_reason: Any = None
    status: Any = None
    message: _Inner | None = None
    response: _Inner | None = None


_decode = msgspec.json.Decoder(_Answer).decode


class AnswerFacts:
    """Reads the attributes of a call that its record would not have. Threads share it.

    :param texts: whether they include the texts of callers who do not forbid it.
    """

    def __init__(self, *, texts: bool) -> None:
        self._texts = texts

    def __call__(self, call: Call, reply: Reply | None) -> Mapping[str, Value]:
        """Read the attributes. :param reply: of a call that was answered; it has begun."""
        facts: dict[str, Value] = {}
        if reply is not None:
            facts |= _stream(reply.begun) if call.stream else _whole(reply.begun)
            if cached := reply.headers.get("x-gateway-cache"):
                facts["gateway.cache"] = cached
        if self._texts and call.caller.content:
            texts = {
                genai.INPUT_MESSAGES: content.input_messages(call.decoded),
                genai.SYSTEM: content.instructions(call.decoded),
            }
            if reply is not None and not call.stream:
                texts[genai.OUTPUT_MESSAGES] = content.output_messages(reply.begun)
            facts |= {name: text for name, text in texts.items() if text}
        return facts


def _whole(body: bytes) -> dict[str, Value]:
    answer = _read(body) if len(body) <= _READ else None
    if answer is None:
        return {}
    reasons = [str(one.finish_reason) for one in answer.choices or () if one.finish_reason]
    reasons += [str(one) for one in (answer.stop_reason, answer.status) if one]
    facts = _names(answer)
    if reasons:
        facts[genai.FINISH_REASONS] = [reason[:_LONGEST] for reason in reasons[:16]]
    return facts


def _stream(begun: bytes) -> dict[str, Value]:
    event = begun[:_BEGINNING].partition(b"\n\n")[0]
    answer = _read(data_of(event) or b"")
    return {} if answer is None else _names(answer)


def _names(answer: _Answer) -> dict[str, Value]:
    inner = answer.message or answer.response or answer
    found = {genai.RESPONSE_ID: inner.id, genai.RESPONSE_MODEL: inner.model}
    return {name: value[:_LONGEST] for name, value in found.items() if isinstance(value, str) and value}


def _read(body: bytes) -> _Answer | None:
    try:
        return _decode(body)
    except (ValueError, RecursionError):
        return None
