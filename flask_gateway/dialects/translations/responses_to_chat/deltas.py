"""Reads what a chat message, or a delta of one, contains: reasoning, text, refusal, tool calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

#: The fields of servers for the model's reasoning, as text.
_REASONING = ("reasoning_content", "reasoning")


class CallPart(NamedTuple):
    """A part of a tool's call, or a whole one. Strings are empty where the part has none.

    :param place: the call's place among the calls of the answer.
    """

    place: int
    id: str
    name: str
    arguments: str


def reasoning_of(delta: Mapping[str, Any]) -> str:
    for name in _REASONING:
        if isinstance(value := delta.get(name), str) and value:
            return value
    details = delta.get("reasoning_details")
    if isinstance(details, list):
        return "".join(_text(detail, "text") for detail in details)
    content = delta.get("content")
    if isinstance(content, list):
        return "".join(_thinking(part) for part in content)
    return ""


def _thinking(part: Any) -> str:
    """The text of a part of Mistral's reasoning: ``{"type": "thinking", "thinking": [{"text": …}]}``."""
    inner = part.get("thinking") if isinstance(part, dict) else None
    if isinstance(inner, list):
        return "".join(_text(piece, "text") for piece in inner)
    return inner if isinstance(inner, str) else ""


def content_of(delta: Mapping[str, Any]) -> str:
    content = delta.get("content")
    if isinstance(content, list):
        return "".join(_text(part, "text") for part in content)
    return content if isinstance(content, str) else ""


def refusal_of(delta: Mapping[str, Any]) -> str:
    return _text(delta, "refusal")


def calls_of(delta: Mapping[str, Any]) -> Iterator[CallPart]:
    """Yield the parts of calls. ``function_call`` is the form before ``tool_calls``."""
    calls = delta.get("tool_calls")
    if not isinstance(calls, list):
        calls = [{"index": 0, "function": delta["function_call"]}] if delta.get("function_call") else []
    for place, call in enumerate(calls):
        if isinstance(call, dict):
            function = call.get("function")
            function = function if isinstance(function, dict) else {}
            index = call.get("index")
            yield CallPart(
                index if type(index) is int else place,
                _text(call, "id"),
                _text(function, "name"),
                _text(function, "arguments"),
            )


def _text(fields: Any, name: str) -> str:
    value = fields.get(name) if isinstance(fields, dict) else None
    return value if isinstance(value, str) else ""
