"""Rewrites answers of Anthropic's Messages API as answers of chat, whole and in chunks.

https://platform.openai.com/docs/api-reference/chat-streaming. Text keeps its bytes.
"""

from __future__ import annotations

import secrets
from typing import Any

import msgspec

from ...model.call import Usage
from ...model.errors import (
    GatewayError,
    UpstreamError,
    UpstreamMalformed,
    UpstreamOverloaded,
    UpstreamRefusal,
)
from ..openai import DONE, chat_error_event

Raw = msgspec.Raw


class _Delta(msgspec.Struct, gc=False):
    text: msgspec.Raw = Raw()
    thinking: msgspec.Raw = Raw()
    partial_json: msgspec.Raw = Raw()
    stop_reason: str | None = None
    stop_details: Any = None


class _Block(msgspec.Struct, gc=False):
    type: str = ""
    text: msgspec.Raw = Raw()
    thinking: msgspec.Raw = Raw()
    id: str = ""
    name: str = ""
    input: msgspec.Raw = Raw(b"{}")


class _Opening(msgspec.Struct, gc=False):
    id: str = ""


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    index: int = 0
    delta: _Delta | None = None
    content_block: _Block | None = None
    message: _Opening | None = None


class _Message(msgspec.Struct, gc=False):
    id: str = ""
    content: list[msgspec.Raw] = []
    stop_reason: str | None = None
    stop_details: Any = None


_decode = msgspec.json.Decoder(_Event).decode
_decode_message = msgspec.json.Decoder(_Message).decode
_decode_block = msgspec.json.Decoder(_Block).decode
_decode_text = msgspec.json.Decoder(str).decode

_EMPTY = (b"", b'""', b"null")
#: Finish reasons by Anthropic's stop reasons. All others are ``stop``.
_FINISHES = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


class ChatRewriter:
    """Rewrites one answer (``translation.AnswerRewriter``).

    :param model: the name of the model. :param created: epoch seconds.
    :param with_usage: the caller wants a chunk with the usage.
    """

    def __init__(self, model: str, created: int, *, with_usage: bool = False) -> None:
        self._model = model
        self._created = created
        self._with_usage = with_usage
        #: The beginning of every chunk; empty before the first.
        self._head = b""
        #: The number of each tool call by the index of its block, and those with arguments.
        self._calls: dict[int, int] = {}
        self._with_arguments: set[int] = set()

    # ------------------------------------------------------------------ streams

    def event(self, data: bytes) -> bytes:
        try:
            event = _decode(data)
        except msgspec.ValidationError as error:
            raise _malformed(error) from None
        delta = event.delta
        if event.type == "content_block_delta" and delta is not None:
            return self._begun() + self._delta(event.index, delta)
        if event.type == "content_block_start" and event.content_block is not None:
            return self._begun() + self._start(event.index, event.content_block)
        if event.type == "content_block_stop":
            return self._stop(event.index)
        if event.type == "message_start" and event.message is not None:
            return self._begun(event.message.id)
        if event.type == "message_delta" and delta is not None and delta.stop_reason:
            return self._begun() + self._finish(delta.stop_reason, delta.stop_details)
        return b""

    def end(self, usage: Usage | None) -> bytes:
        if not self._with_usage:
            return DONE
        fields = {**self._names(), "choices": [], "usage": usage_object(usage)}
        return b"data: %b\n\n" % msgspec.json.encode(fields) + DONE

    def cut(self, error: GatewayError) -> bytes:
        return chat_error_event(error, None)

    def _names(self) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._model,
        }

    def _begun(self, identifier: str = "") -> bytes:
        """The opening chunk, once."""
        if self._head:
            return b""
        self._id = f"chatcmpl-{identifier or secrets.token_hex(12)}"
        self._head = b'data: %b,"choices":[{"index":0,"delta":' % msgspec.json.encode(self._names())[:-1]
        return self._chunk(b'{"role":"assistant","content":""}')

    def _chunk(self, delta: bytes, finish: bytes = b"null") -> bytes:
        return b'%b%b,"finish_reason":%b}]}\n\n' % (self._head, delta, finish)

    def _delta(self, index: int, delta: _Delta) -> bytes:
        for field, raw in ((b"content", delta.text), (b"reasoning_content", delta.thinking)):
            text = bytes(raw)
            if text not in _EMPTY:
                return self._chunk(b'{"%b":%b}' % (field, text))
        part = bytes(delta.partial_json)
        if part in _EMPTY or index not in self._calls:
            return b""
        self._with_arguments.add(index)
        return self._arguments(index, part)

    def _arguments(self, index: int, text: bytes) -> bytes:
        """:param text: a JSON string."""
        return self._chunk(
            b'{"tool_calls":[{"index":%d,"function":{"arguments":%b}}]}' % (self._calls[index], text)
        )

    def _start(self, index: int, block: _Block) -> bytes:
        if block.type != "tool_use":
            return self._delta(index, _Delta(block.text, block.thinking))
        number = self._calls[index] = len(self._calls)
        call = _call(block, "") | {"index": number}
        out = self._chunk(msgspec.json.encode({"tool_calls": [call]}))
        if bytes(block.input).strip() not in (b"{}", b"", b"null"):
            self._with_arguments.add(index)
            out += self._arguments(index, msgspec.json.encode(bytes(block.input).decode()))
        return out

    def _stop(self, index: int) -> bytes:
        if index in self._calls and index not in self._with_arguments:
            return self._arguments(index, b'"{}"')
        return b""

    def _finish(self, reason: str, details: Any) -> bytes:
        refusal = _refusal(reason, details)
        out = self._chunk(msgspec.json.encode({"refusal": refusal})) if refusal else b""
        return out + self._chunk(b"{}", msgspec.json.encode(_FINISHES.get(reason, "stop")))

    # ------------------------------------------------------------------ whole answers

    def body(self, data: bytes, usage: Usage | None) -> bytes:
        try:
            answer = _decode_message(data)
        except msgspec.ValidationError as error:
            raise _malformed(error) from None
        self._id = f"chatcmpl-{answer.id or secrets.token_hex(12)}"
        message = _message(answer)
        finish = _FINISHES.get(answer.stop_reason or "", "stop")
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
        names = self._names() | {"object": "chat.completion"}
        return msgspec.json.encode({**names, "choices": [choice], "usage": usage_object(usage)})


def _malformed(error: msgspec.ValidationError) -> UpstreamMalformed:
    return UpstreamMalformed(f"The upstream's answer does not follow the Messages API: {error}.")


def _message(answer: _Message) -> dict[str, Any]:
    blocks = [(_decode_block(raw), raw) for raw in answer.content]
    texts = [_decode_text(block.text) for block, _ in blocks if block.type == "text"]
    thoughts = [_decode_text(block.thinking) for block, _ in blocks if block.type == "thinking"]
    thinking = [raw for block, raw in blocks if block.type in ("thinking", "redacted_thinking")]
    calls = [_call(block, bytes(block.input).decode()) for block, _ in blocks if block.type == "tool_use"]
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) if texts else None}
    message["refusal"] = _refusal(answer.stop_reason or "", answer.stop_details) or None
    if thoughts:
        message["reasoning_content"] = "".join(thoughts)
    if thinking:
        message["thinking_blocks"] = thinking
    if calls:
        message["tool_calls"] = calls
    return message


def _call(block: _Block, arguments: str) -> dict[str, Any]:
    function = {"name": block.name, "arguments": arguments}
    return {"id": block.id, "type": "function", "function": function}


def _refusal(reason: str, details: Any) -> str:
    """The words of a refusal; empty if there are none."""
    words = details.get("explanation") if reason == "refusal" and isinstance(details, dict) else None
    return words if isinstance(words, str) else ""


def usage_object(usage: Usage | None) -> dict[str, Any]:
    """The usage in the words of chat."""
    usage = usage or Usage()
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    fields: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
    written = usage.parts.get("write", 0)
    if usage.cached_tokens or written:
        fields["prompt_tokens_details"] = {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": written,
        }
    if reasoning := usage.parts.get("reasoning"):
        fields["completion_tokens_details"] = {"reasoning_tokens": reasoning}
    return fields


def worded_for_chat(error: UpstreamError) -> UpstreamError:
    """The error without the upstream's own body, which is in the words of another API.

    529 is Anthropic's own status. For chat it is 503, as OpenAI's API answers when it is overloaded:
    https://platform.openai.com/docs/guides/error-codes.
    """
    if isinstance(error, UpstreamRefusal):
        error.body = None
    elif isinstance(error, UpstreamOverloaded):
        error.status = 503
    return error
