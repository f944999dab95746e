"""Writes the correct answer of a scripted provider in the API of the request."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .message_answers import MessageAnswers
from .scripted_answers import ScriptedAnswer, event, wants_usage
from .scripted_provider import ProviderExchange

#: The only correct answer, token by token.
TOKENS = tuple(f"word{number:02d} " for number in range(60))
TEXT = "".join(TOKENS)

#: The usage that each model reports. The figures differ, to show which provider's usage was passed on.
USAGE = {
    "primary-model": {"prompt_tokens": 9, "completion_tokens": 60, "total_tokens": 69},
    "fallback-model": {"prompt_tokens": 12, "completion_tokens": 60, "total_tokens": 72},
}

Tokens = Sequence[str]


class Answers(NamedTuple):
    """How one API words an answer.

    :param beginning: the opening, and one event for each token. :param ending: the events behind them.
    :param body: the answer in one document.
    """

    beginning: Callable[[ProviderExchange, Tokens], list[bytes]]
    ending: Callable[[ProviderExchange, Tokens], list[bytes]]
    body: Callable[[ProviderExchange, Tokens], bytes]


def answers_of(exchange: ProviderExchange) -> Answers:
    """Return the words of the API that the request is in."""
    path = exchange.request.path.partition("?")[0]
    return _BY_PATH.get(path.rpartition("/")[2], _CHAT)


# ---------------------------------------------------------------- chat


def _chat(exchange: ProviderExchange) -> ScriptedAnswer:
    model = exchange.provider.model
    return ScriptedAnswer(f"chatcmpl-{model}-{exchange.number}", model)


def _chat_beginning(exchange: ProviderExchange, tokens: Tokens) -> list[bytes]:
    return _chat(exchange).beginning(tokens)


def _chat_ending(exchange: ProviderExchange, _tokens: Tokens) -> list[bytes]:
    asked = wants_usage(exchange.request.json)
    return _chat(exchange).ending(USAGE[exchange.provider.model] if asked else None)


def _chat_body(exchange: ProviderExchange, tokens: Tokens) -> bytes:
    return _chat(exchange).body("".join(tokens), USAGE[exchange.provider.model])


# ---------------------------------------------------------------- Responses


def _response(exchange: ProviderExchange, tokens: Tokens, status: str) -> dict[str, Any]:
    usage = USAGE[exchange.provider.model]
    counts = {"input_tokens": usage["prompt_tokens"], "output_tokens": usage["completion_tokens"]}
    complete = status == "completed"
    return {
        "id": f"resp_{exchange.provider.model}_{exchange.number}",
        "object": "response",
        "created_at": 1,
        "status": status,
        "model": exchange.provider.model,
        "output": [_message(tokens, status)] if complete else [],
        "usage": {**counts, "total_tokens": usage["total_tokens"]} if complete else None,
    }


def _message(tokens: Tokens, status: str) -> dict[str, Any]:
    content = [_part("".join(tokens))] if status == "completed" else []
    return {"id": "msg_1", "type": "message", "role": "assistant", "status": status, "content": content}


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": []}


def _named(number: int, kind: str, **fields: object) -> bytes:
    return event({"type": kind, "sequence_number": number, **fields}, kind)


_PLACE = {"item_id": "msg_1", "output_index": 0, "content_index": 0}


def _response_beginning(exchange: ProviderExchange, tokens: Tokens) -> list[bytes]:
    begun = "in_progress"
    events = [
        _named(0, "response.created", response=_response(exchange, (), begun)),
        _named(1, "response.output_item.added", output_index=0, item=_message((), begun)),
        _named(2, "response.content_part.added", **_PLACE, part=_part("")),
    ]
    for number, token in enumerate(tokens, len(events)):
        events.append(_named(number, "response.output_text.delta", **_PLACE, delta=token, logprobs=[]))
    return events


def _response_ending(exchange: ProviderExchange, tokens: Tokens) -> list[bytes]:
    first, text = len(tokens) + 3, "".join(tokens)
    response = _response(exchange, tokens, "completed")
    return [
        _named(first, "response.output_text.done", **_PLACE, text=text, logprobs=[]),
        _named(first + 1, "response.content_part.done", **_PLACE, part=_part(text)),
        _named(first + 2, "response.output_item.done", output_index=0, item=response["output"][0]),
        _named(first + 3, "response.completed", response=response),
    ]


def _response_body(exchange: ProviderExchange, tokens: Tokens) -> bytes:
    return json.dumps(_response(exchange, tokens, "completed")).encode()


_CHAT = Answers(_chat_beginning, _chat_ending, _chat_body)
_RESPONSES = Answers(_response_beginning, _response_ending, _response_body)
_MESSAGES = MessageAnswers(USAGE)
_BY_PATH = {
    "responses": _RESPONSES,
    "messages": Answers(_MESSAGES.beginning, _MESSAGES.ending, _MESSAGES.body),
}
