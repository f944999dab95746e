"""What a mock upstream writes in the Responses API: one object, or the typed events that lead to it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import msgspec

from .mock_text import Frame, Speech, body


def response(speech: Speech) -> Iterator[Frame]:
    yield body(speech, _response(speech, done=True))


def response_stream(speech: Speech) -> Iterator[Frame]:
    number = count()

    def event(kind: str, tokens: int = 0, **fields: Any) -> Frame:
        data = msgspec.json.encode({"type": kind, "sequence_number": next(number), **fields})
        return Frame(b"event: %b\ndata: %b\n\n" % (kind.encode(), data), tokens)

    part: dict[str, Any] = {"item_id": f"msg_{speech.key}", "output_index": 0, "content_index": 0}
    opening = _response(speech, done=False)
    yield event("response.created", response=opening)
    yield event("response.in_progress", response=opening)
    yield event("response.output_item.added", output_index=0, item=_message(speech, []))
    yield event("response.content_part.added", **part, part=_output_text(""))
    for piece in speech.pieces:
        yield event("response.output_text.delta", 1, **part, delta=piece, logprobs=[])
    content = _output_text(speech.text)
    yield event("response.output_text.done", **part, text=speech.text, logprobs=[])
    yield event("response.content_part.done", **part, part=content)
    yield event("response.output_item.done", output_index=0, item=_message(speech, [content]))
    closing = _response(speech, done=True)
    yield event(f"response.{closing['status']}", response=closing)


def _response(speech: Speech, done: bool) -> dict[str, Any]:
    ended = "incomplete" if speech.cut_short else "completed"
    usage = {
        "input_tokens": speech.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": speech.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": speech.prompt_tokens + speech.completion_tokens,
    }
    return {
        "id": f"resp_{speech.key}",
        "object": "response",
        "created_at": speech.created,
        "status": ended if done else "in_progress",
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if done and speech.cut_short else None,
        "instructions": None,
        "metadata": {},
        "model": speech.call.model,
        "output": [_message(speech, [_output_text(speech.text)])] if done else [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": usage if done else None,
    }


def _message(speech: Speech, content: list[dict[str, Any]]) -> dict[str, Any]:
    status = "completed" if content else "in_progress"
    message = {"id": f"msg_{speech.key}", "type": "message", "status": status}
    return message | {"role": "assistant", "content": content}


def _output_text(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
