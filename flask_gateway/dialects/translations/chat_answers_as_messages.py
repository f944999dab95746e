"""Rewrites answers of chat as answers of Anthropic's Messages API, whole and in events.

https://docs.claude.com/en/api/messages-streaming: one block is open at a time, and each start has its stop.
Text keeps its bytes: nothing is decoded that need not be.
"""

from __future__ import annotations

import re
import secrets
from typing import Any

import msgspec

from ...model.call import Usage
from ...model.errors import GatewayError, UpstreamError, UpstreamMalformed, UpstreamTooLong
from ..anthropic import STOP, error_event
from .open_blocks import MessageBlocks
from .tool_fragments import ToolCall

Raw = msgspec.Raw
_NOTHING = (b"", b"null", b'""', b"[]")


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: Any = None


class _ToolCall(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None
    extra_content: msgspec.Raw = Raw()


class _Delta(msgspec.Struct, gc=False):
    content: msgspec.Raw = Raw()
    reasoning_content: msgspec.Raw = Raw()
    reasoning: msgspec.Raw = Raw()
    reasoning_details: msgspec.Raw = Raw()
    refusal: msgspec.Raw = Raw()
    tool_calls: list[_ToolCall] | None = None
    function_call: _Function | None = None


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None
    stop_reason: Any = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None


_decode = msgspec.json.Decoder(_Chunk).decode
_decode_any = msgspec.json.Decoder(Any).decode

#: Stop reasons by the finish reasons of chat.
_STOPS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}


def new_id() -> str:
    """The id of a message."""
    return f"msg_{secrets.token_hex(12)}"


class MessageRewriter:
    """Rewrites one answer (``translation.AnswerRewriter``).

    :param model: by the name that the caller used.
    :param hides_thinking: the caller wants no text of the reasoning.
    """

    def __init__(self, model: str, *, hides_thinking: bool = False) -> None:
        self._model = model
        self._hides_thinking = hides_thinking
        self._blocks = MessageBlocks()
        self._begun = False
        self._finish: str | None = None
        self._stop_sequence: str | None = None

    # ------------------------------------------------------------------ streams

    def event(self, data: bytes) -> bytes:
        try:
            choices = _decode(data).choices
        except msgspec.ValidationError:
            choices = _loosely(data)
        out = b"" if self._begun else self._start()
        for choice in choices or ():
            if choice.index == 0:
                if choice.delta is not None:
                    out += self._delta(choice.delta)
                if choice.finish_reason is not None:
                    self._finished(choice)
        return out

    def end(self, usage: Usage | None) -> bytes:
        out = b"" if self._begun else self._start()
        out += self._blocks.finish()
        delta = {"stop_reason": self._stop_reason(), "stop_sequence": self._stop_sequence}
        ending = {"type": "message_delta", "delta": delta, "usage": usage_object(usage)}
        return out + event_of("message_delta", ending) + STOP

    def cut(self, error: GatewayError) -> bytes:
        return error_event(error, None)

    def _start(self) -> bytes:
        self._begun = True
        message = self._message([], None) | {"usage": usage_object(None)}
        return event_of("message_start", {"type": "message_start", "message": message})

    def _delta(self, delta: _Delta) -> bytes:
        out = b""
        if (reasoning := _reasoning(delta)) and not self._hides_thinking:
            out = self._blocks.add_thinking(reasoning)
        if bytes(delta.content) not in _NOTHING:
            out += self._blocks.add_text(_text(delta.content))
        if bytes(delta.refusal) not in _NOTHING:
            out += self._blocks.add_text(_text(delta.refusal))
        for call in _calls(delta):
            function = call.function or _Function()
            fragment = ToolCall(call.id, function.name, _arguments(function), _state(call))
            out += self._blocks.add_call(call.index, fragment)
        return out

    def _finished(self, choice: _Choice) -> None:
        self._finish = choice.finish_reason
        if isinstance(choice.stop_reason, str):  # vLLM names the stop sequence here
            self._stop_sequence = choice.stop_reason

    def _stop_reason(self) -> str:
        if self._blocks.called and self._finish in ("stop", None):
            return "tool_use"
        if self._stop_sequence is not None and self._finish == "stop":
            return "stop_sequence"
        return _STOPS.get(self._finish or "", "end_turn")

    # ------------------------------------------------------------------ whole answers

    def body(self, data: bytes, usage: Usage | None) -> bytes:
        try:
            choices = _decode(data).choices
        except msgspec.ValidationError:
            choices = _loosely(data)
        choice = (choices or [_Choice()])[0]
        content = self._content(choice.message or _Delta())
        self._finished(choice)
        message = self._message(content, self._stop_reason()) | {"usage": usage_object(usage)}
        return msgspec.json.encode(message | {"stop_sequence": self._stop_sequence})

    def _content(self, message: _Delta) -> list[dict[str, Any]]:
        content: list[dict[str, Any]] = []
        reasoning = _reasoning(message)
        if reasoning and not self._hides_thinking:
            content.append({"type": "thinking", "thinking": Raw(reasoning), "signature": ""})
        for raw in (message.content, message.refusal):
            if bytes(raw) not in _NOTHING:
                content.append({"type": "text", "text": Raw(_text(raw))})
        for call in _calls(message):
            function = call.function or _Function()
            content += ToolCall(call.id, function.name, _arguments(function), _state(call)).blocks()
            self._blocks.called = True
        return content

    def _message(self, content: list[dict[str, Any]], stop_reason: str | None) -> dict[str, Any]:
        return {
            "id": new_id(),
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": None,
        }


def event_of(name: str, data: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(data))


def usage_object(usage: Usage | None) -> dict[str, Any]:
    """The usage in Anthropic's words: its ``input_tokens`` leave out what a cache read or wrote."""
    usage = usage or Usage()
    written = usage.parts.get("write", 0)
    fields: dict[str, Any] = {
        "input_tokens": max(0, usage.prompt_tokens - usage.cached_tokens - written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
    }
    if reasoning := usage.parts.get("reasoning"):
        fields["output_tokens_details"] = {"thinking_tokens": reasoning}
    return fields


_ODD = "The upstream broke the answer: a field of a choice has the wrong type. Send the request again."


def _loosely(data: bytes) -> list[_Choice] | None:
    """The choices of an event in which a field has an odd type. An odd index or finish reason is dropped.

    :raises UpstreamMalformed: it is a part of the answer.
    """
    document = _decode_any(data)
    choices = document.get("choices") if isinstance(document, dict) else None
    return [_odd_choice(choice) for choice in choices or () if isinstance(choice, dict)] or None


def _odd_choice(choice: dict[str, Any]) -> _Choice:
    fields: dict[str, Any] = {}
    for name in ("index", "finish_reason", "stop_reason", "delta", "message"):
        try:
            fields[name] = _DECODERS[name].decode(msgspec.json.encode(choice[name]))
        except KeyError:
            continue
        except msgspec.ValidationError:
            if name in ("delta", "message"):  # a part of the answer would be lost
                raise UpstreamMalformed(_ODD) from None
    return _Choice(**fields)


_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    "index": msgspec.json.Decoder(int),
    "finish_reason": msgspec.json.Decoder(str | None),
    "stop_reason": msgspec.json.Decoder(Any),
    "delta": msgspec.json.Decoder(_Delta | None),
    "message": msgspec.json.Decoder(_Delta | None),
}


def _text(raw: msgspec.Raw) -> bytes:
    """A content as a JSON string. A list of parts becomes one text."""
    data = bytes(raw)
    if data[:1] == b'"':
        return data
    value = _decode_any(data)
    parts = value if isinstance(value, list) else [value]
    texts = [part.get("text") if isinstance(part, dict) else part for part in parts]
    return msgspec.json.encode("".join(text for text in texts if isinstance(text, str)))


def _reasoning(delta: _Delta) -> bytes:
    """The reasoning as a JSON string; nothing if there is none."""
    for raw in (delta.reasoning_content, delta.reasoning):
        data = bytes(raw)
        if data not in _NOTHING and data[:1] == b'"':
            return data
    if bytes(delta.reasoning_details) in _NOTHING:
        return b""
    text = _text(delta.reasoning_details)
    return b"" if text == b'""' else text


def _calls(delta: _Delta) -> list[_ToolCall]:
    calls = delta.tool_calls or []
    if delta.function_call is not None:  # the deprecated form of a single call
        calls = [*calls, _ToolCall(0, None, delta.function_call)]
    return calls


def _state(call: _ToolCall) -> bytes:
    """The opaque state of a call, as JSON; nothing if it has none."""
    state = bytes(call.extra_content)
    return b"" if state in _NOTHING else state


def _arguments(function: _Function) -> str:
    """The arguments. Some servers send an object instead of its text."""
    if function.arguments is None or isinstance(function.arguments, str):
        return function.arguments or ""
    return msgspec.json.encode(function.arguments).decode()


# ---------------------------------------------------------------- errors

_NUMBER = r"(\d[\d,]*)"
#: Words with the tokens that a model takes, and with those that were asked for.
_MOST = re.compile(
    rf"(?:max(?:imum)?|available) (?:context|prompt|input|model)?\s?(?:length|size)(?: is| of)? \(?{_NUMBER}",
    re.I,
)
_WANTED = re.compile(
    rf"(?:requested|resulted in|contains|has|prompt is|got|request) \(?(?:about )?{_NUMBER}", re.I
)


def worded_for_messages(error: UpstreamError) -> UpstreamError:
    """Word an error for callers of Anthropic's API. Claude Code compacts on exactly these words."""
    if isinstance(error, UpstreamTooLong):
        fields = dict(error.error_object)
        fields["message"] = error.message = _too_long(fields)
        error.error_object, error.status = fields, 400
    return error


def _too_long(fields: dict[str, Any]) -> str:
    words = str(fields.get("message"))
    wanted, most = fields.get("n_prompt_tokens"), fields.get("n_ctx")  # llama.cpp
    if not (wanted and most):
        found = _WANTED.search(words), _MOST.search(words)
        wanted, most = (match and match[1].replace(",", "") for match in found)
    return (
        f"prompt is too long: {wanted} tokens > {most} maximum" if wanted and most else "prompt is too long"
    )
