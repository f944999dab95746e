"""Writes the correct answer of a scripted provider in Anthropic's Messages API."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from .scripted_provider import ProviderExchange

#: The last event.
STOP = b'event: message_stop\ndata: {"type": "message_stop"}\n\n'


class MessageAnswers:
    """The parts of an answer (``provider_answers.Answers``).

    :param usage: by model, in the words of chat.
    """

    def __init__(self, usage: Mapping[str, Mapping[str, int]]) -> None:
        self._usage = usage

    def beginning(self, exchange: ProviderExchange, tokens: Sequence[str]) -> list[bytes]:
        opening = self._message(exchange, [], None)
        deltas = ({"type": "text_delta", "text": token} for token in tokens)
        return [
            _event("message_start", message=opening),
            _event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
            *(_event("content_block_delta", index=0, delta=delta) for delta in deltas),
        ]

    def ending(self, exchange: ProviderExchange, _tokens: Sequence[str]) -> list[bytes]:
        usage = {"output_tokens": self._usage[exchange.provider.model]["completion_tokens"]}
        delta = {"stop_reason": "end_turn", "stop_sequence": None}
        return [
            _event("content_block_stop", index=0),
            _event("message_delta", delta=delta, usage=usage),
            STOP,
        ]

    def body(self, exchange: ProviderExchange, tokens: Sequence[str]) -> bytes:
        content = [{"type": "text", "text": "".join(tokens)}]
        return json.dumps(self._message(exchange, content, "end_turn")).encode()

    def _message(
        self, exchange: ProviderExchange, content: list[dict[str, str]], stop_reason: str | None
    ) -> dict[str, Any]:
        usage = self._usage[exchange.provider.model]
        counts = {"input_tokens": usage["prompt_tokens"], "output_tokens": usage["completion_tokens"]}
        return {
            "id": f"msg_{exchange.provider.model}_{exchange.number}",
            "type": "message",
            "role": "assistant",
            "model": exchange.provider.model,
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": None,
            "usage": counts if content else counts | {"output_tokens": 1},
        }


def _event(kind: str, **fields: object) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()
