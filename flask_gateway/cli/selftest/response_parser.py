"""Parses answers strictly and records every flaw of their form."""

from __future__ import annotations

from typing import Any

import msgspec

from ...dialects.sse import EventSplitter, data_of
from .client import Api, ClientResponse, StreamEnd
from .heard import ERROR_FIELDS, Heard
from .message_parser import hear_message_body, hear_message_stream
from .response_events import hear_response_body, hear_response_stream

_decode = msgspec.json.Decoder(dict[str, Any]).decode


def hear(answer: ClientResponse) -> Heard:
    """Parse an answer, streamed or not."""
    heard = Heard()
    if answer.end is StreamEnd.NEVER:
        heard.flaws.append(f"no end within {answer.seconds:.1f} s")
    elif answer.end is StreamEnd.BROKEN:
        heard.flaws.append("the connection broke" if answer.status else "no HTTP answer")
    if answer.status == 200 and answer.streamed != answer.stream:
        heard.flaws.append("a stream that was not requested" if answer.streamed else "no stream as requested")
    if answer.status == 200 and answer.streamed:
        _STREAMS[answer.api](heard, answer.body)
    elif answer.status:
        _hear_body(heard, answer)
    return heard


def _hear_body(heard: Heard, answer: ClientResponse) -> None:
    try:
        fields = _decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        heard.flaws.append(f"a {answer.status} with a body that is not a JSON object")
        return
    _BODIES[answer.api](heard, fields)
    if (heard.error is None) == (answer.status != 200):
        heard.flaws.append(f"a {answer.status} that is {'no' if heard.error is None else 'an'} error")


def _hear_chat_body(heard: Heard, fields: dict[str, Any]) -> None:
    _hear_head(heard, fields)
    for choice in _choices(fields):
        _hear_choice(heard, choice, "message")
    heard.done = heard.finish is not None


def _hear_stream(heard: Heard, body: bytes) -> None:
    identities = set()
    splitter = EventSplitter()
    events = splitter.feed(body)
    if splitter.rest().strip():
        heard.flaws.append("an unfinished event")
    for event in events:
        if (data := data_of(event)) is None:
            continue  # a keep-alive comment
        if heard.done or heard.error is not None:
            heard.flaws.append("an event after the end" if heard.done else "an event after the error")
        if data.strip() == b"[DONE]":
            heard.done = True
        elif (identity := _hear_event(heard, data)) is not None:
            identities.add(identity)
    if len(identities) > 1:
        heard.flaws.append(f"one stream with {len(identities)} ids")
    if heard.error is None and not heard.done:
        heard.flaws.append("a stream that ends without [DONE] and without an error")
    if heard.error is not None and heard.finish is not None:
        heard.flaws.append("an error in a stream that has finished")


def _hear_event(heard: Heard, data: bytes) -> object:
    """Parse an event and return its id."""
    try:
        fields = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        heard.flaws.append("an event that is not a JSON object")
        return None
    _hear_head(heard, fields)
    for choice in _choices(fields):
        if heard.finish is not None:
            heard.flaws.append("a choice that continues after its finish reason")
        _hear_choice(heard, choice, "delta")
    return fields.get("id")


def _hear_head(heard: Heard, fields: dict[str, Any]) -> None:
    heard.model = heard.model or fields.get("model")
    heard.usage = fields.get("usage") or heard.usage
    error = fields.get("error")
    if error is None:
        return
    well_formed = isinstance(error, dict) and error.keys() >= ERROR_FIELDS and bool(error["message"])
    if not well_formed:
        heard.flaws.append("an error that is not in OpenAI's envelope")
    heard.error = error if isinstance(error, dict) else {"message": str(error)}


def _hear_choice(heard: Heard, choice: dict[str, Any], part: str) -> None:
    content = (choice.get(part) or {}).get("content")
    heard.text += content if isinstance(content, str) else ""
    heard.finish = choice.get("finish_reason") or heard.finish


def _choices(fields: dict[str, Any]) -> list[dict[str, Any]]:
    choices = fields.get("choices")
    return [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []


_STREAMS = {
    Api.CHAT: _hear_stream,
    Api.RESPONSES: hear_response_stream,
    Api.MESSAGES: hear_message_stream,
}
_BODIES = {
    Api.CHAT: _hear_chat_body,
    Api.RESPONSES: hear_response_body,
    Api.MESSAGES: hear_message_body,
}
