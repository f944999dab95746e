"""Converts an answer in one JSON document into the events of the stream that was asked for.

Some servers do not stream, or do not stream with tools, and always answer with one document.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from ..model.call import HEARING, PICTURES, Operation
from .values import Ending, ending

#: Fields of a response that its first event repeats.
_NAMES = ("id", "object", "created_at", "model")


def as_events(document: Any, operation: Operation, *, with_usage: bool) -> list[bytes]:
    """Return the events, without their blank lines; none when the document is no such answer.

    :param with_usage: whether the caller is to see the usage.
    """
    if not isinstance(document, dict):
        return []
    if operation is Operation.RESPONSE and isinstance(document.get("output"), list):
        return [_numbered(event, number) for number, event in enumerate(_of_response(document))]
    choices = document.get("choices")
    if operation in (Operation.CHAT, Operation.COMPLETION) and isinstance(choices, list) and choices:
        chunks = _of_choices(document, choices, with_usage)
        return [b"data: " + msgspec.json.encode(chunk) for chunk in chunks]
    if operation in HEARING and isinstance(document.get("text"), str):
        return [_named(event) for event in _of_transcript(document)]
    if operation in PICTURES and isinstance(document.get("data"), list):
        return [_named(event) for event in _of_pictures(document, document["data"], operation)]
    return []


def _named(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: ".encode() + msgspec.json.encode(event)


def _of_transcript(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"type": "transcript.text.delta", "delta": document["text"]}
    yield {**document, "type": "transcript.text.done"}


def _of_pictures(
    document: dict[str, Any], pictures: list[Any], operation: Operation
) -> Iterator[dict[str, Any]]:
    kind = "image_generation.completed" if operation is Operation.IMAGE else "image_edit.completed"
    shared = {name: value for name, value in document.items() if name not in ("data", "created")}
    for picture in pictures:
        if isinstance(picture, dict):
            yield {"type": kind, "created_at": document.get("created"), **shared, **picture}


def _of_choices(document: dict[str, Any], choices: list[Any], with_usage: bool) -> Iterator[dict[str, Any]]:
    chunk = {name: value for name, value in document.items() if name != "usage"}
    if chunk.get("object") == "chat.completion":
        chunk["object"] = "chat.completion.chunk"
    yield {**chunk, "choices": [_streamed(choice) for choice in choices if isinstance(choice, dict)]}
    if with_usage and isinstance(document.get("usage"), dict):
        yield {**chunk, "choices": [], "usage": document["usage"]}


def _streamed(choice: dict[str, Any]) -> dict[str, Any]:
    streamed = {name: value for name, value in choice.items() if name != "message"}
    if isinstance(choice.get("message"), dict):
        delta = {name: value for name, value in choice["message"].items() if value is not None}
        if isinstance(delta.get("tool_calls"), list):
            calls = [call for call in delta["tool_calls"] if isinstance(call, dict)]
            delta["tool_calls"] = [{"index": index, **call} for index, call in enumerate(calls)]
        streamed["delta"] = delta
    if ending(choice.get("finish_reason")) is Ending.NOT_YET:
        streamed["finish_reason"] = "stop"
    return streamed


def _of_response(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    begun = {name: document[name] for name in _NAMES if name in document}
    yield {"type": "response.created", "response": {**begun, "status": "in_progress", "output": []}}
    for number, item in enumerate(document["output"]):
        parts = item.get("content") if isinstance(item, dict) else None
        for index, part in enumerate(parts if isinstance(parts, list) else ()):
            if isinstance(part, dict) and isinstance(part.get("text"), str):
                where = {"item_id": item.get("id"), "output_index": number, "content_index": index}
                yield {"type": "response.output_text.delta", **where, "delta": part["text"]}
    kind = "incomplete" if document.get("status") == "incomplete" else "completed"
    yield {"type": f"response.{kind}", "response": document}


def _numbered(event: dict[str, Any], number: int) -> bytes:
    data = msgspec.json.encode({**event, "sequence_number": number})
    return f"event: {event['type']}\ndata: ".encode() + data
