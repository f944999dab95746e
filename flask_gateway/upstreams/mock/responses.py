"""Writes a mock's answers in the Responses API: one object, or the typed events that lead to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import msgspec

from .chat import Frame, Speech, body


def response(speech: Speech) -> Iterator[Frame]:
    yield body(speech, _response(speech, done=True))


def response_stream(speech: Speech) -> Iterator[Frame]:
    number = count()

    def event(kind: str, tokens: int = 0, **fields: Any) -> Frame:
        data = msgspec.json.encode({"type": kind, "sequence_number": next(number), **fields})
        return Frame(b"event: %b\ndata: %b\n\n" % (kind.encode(), data), tokens)

    opening = _response(speech, done=False)
    yield event("response.created", response=opening)
    yield event("response.in_progress", response=opening)
    yield from (_tool_events if speech.tool else _text_events)(speech, event)
    closing = _response(speech, done=True)
    yield event(f"response.{closing['status']}", response=closing)


def _tool_events(speech: Speech, event: Callable[..., Frame]) -> Iterator[Frame]:
    place: dict[str, Any] = {"item_id": f"fc_{speech.key}", "output_index": 0}
    yield event("response.output_item.added", output_index=0, item=_function_call(speech, done=False))
    yield event("response.function_call_arguments.delta", 1, **place, delta=speech.arguments)
    done = {"name": speech.tool, "arguments": speech.arguments}
    yield event("response.function_call_arguments.done", **place, **done)
    yield event("response.output_item.done", output_index=0, item=_function_call(speech, done=True))


def _text_events(speech: Speech, event: Callable[..., Frame]) -> Iterator[Frame]:
    part: dict[str, Any] = {"item_id": f"msg_{speech.key}", "output_index": 0, "content_index": 0}
    yield event("response.output_item.added", output_index=0, item=_message(speech, []))
    yield event("response.content_part.added", **part, part=_output_text(""))
    for piece in speech.pieces:
        yield event("response.output_text.delta", 1, **part, delta=piece, logprobs=[])
    content = _output_text(speech.text)
    yield event("response.output_text.done", **part, text=speech.text, logprobs=[])
    yield event("response.content_part.done", **part, part=content)
    yield event("response.output_item.done", output_index=0, item=_message(speech, [content]))


def _response(speech: Speech, done: bool) -> dict[str, Any]:
    cut_short = speech.cut_short and not speech.tool
    ended = "incomplete" if cut_short else "completed"
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
        "incomplete_details": {"reason": "max_output_tokens"} if done and cut_short else None,
        "instructions": None,
        "metadata": {},
        "model": speech.call.model,
        "output": [_output(speech)] if done else [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": usage if done else None,
    }


def _output(speech: Speech) -> dict[str, Any]:
    if speech.tool:
        return _function_call(speech, done=True)
    return _message(speech, [_output_text(speech.text)])


def _function_call(speech: Speech, done: bool) -> dict[str, Any]:
    return {
        "id": f"fc_{speech.key}",
        "type": "function_call",
        "call_id": f"call_{speech.key}",
        "name": speech.tool,
        "arguments": speech.arguments if done else "",
        "status": "completed" if done else "in_progress",
    }


def _message(speech: Speech, content: list[dict[str, Any]]) -> dict[str, Any]:
    status = "completed" if content else "in_progress"
    message = {"id": f"msg_{speech.key}", "type": "message", "status": status}
    return message | {"role": "assistant", "content": content}


def _output_text(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
