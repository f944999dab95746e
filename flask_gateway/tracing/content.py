"""Words what a call says for a span: messages in the convention's shape, as JSON text of a bounded length.

The shapes are those of ``gen-ai-input-messages.json`` and ``gen-ai-output-messages.json`` of the convention.
Long texts are cut and the oldest messages are left out, so that what remains is still whole JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

#: The most bytes of one attribute.
MOST = 8 * 1024
#: The most characters of one text, at first; halved until the whole fits.
_TEXT = 4096
#: The largest request or answer that is decoded for this, bytes.
_DECODED = 1024 * 1024
#: The most characters of an id, a name or a reason.
_NAME = 64
#: Of more messages only the last ones are looked at.
_MESSAGES = 64

Message = dict[str, Any]


def input_messages(decoded: Callable[[str, int], Any]) -> str | None:
    """The messages of a request; ``None`` if it has none, or they are too large.

    :param decoded: returns a field of the request (``Call.decoded``).
    """
    for field in ("messages", "input", "prompt"):
        value = decoded(field, _DECODED)
        if isinstance(value, str):
            value = [{"role": "user", "content": value}]
        if isinstance(value, list):
            return _fitted([_message(one, "user") for one in value[-_MESSAGES:]], len(value))
    return None


def instructions(decoded: Callable[[str, int], Any]) -> str | None:
    """The system's text, where it is no message: Anthropic's ``system``, and ``instructions``."""
    for field in ("system", "instructions"):
        value = decoded(field, _DECODED)
        if value and isinstance(value, str | list):
            return _encoded(_parts(value, MOST // 2))
    return None


def output_messages(body: bytes) -> str | None:
    """The messages of a whole answer; ``None`` if it has none."""
    if len(body) > _DECODED:
        return None
    try:
        document = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    found = list(_answers(document))[:_MESSAGES]
    return _fitted(found, len(found)) if found else None


def _answers(document: dict[str, Any]) -> Iterable[Message]:
    choices, output, content = (document.get(name) for name in ("choices", "output", "content"))
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict):
            said = choice.get("message") or {"content": choice.get("text")}
            reason = _name(choice.get("finish_reason") or "stop")
            yield {**_message(said, "assistant"), "finish_reason": reason}
    if isinstance(output, list):
        for item in output:
            yield {**_message(item, "assistant"), "finish_reason": _name(document.get("status") or "stop")}
    elif isinstance(content, list):
        reason = _name(document.get("stop_reason") or "stop")
        yield {"role": "assistant", "parts": _parts(content, _TEXT), "finish_reason": reason}


def _message(value: Any, role: str) -> Message:
    if not isinstance(value, dict):
        return {"role": role, "parts": _parts(value, _TEXT)}
    parts = _parts(value.get("content"), _TEXT)
    calls = value.get("tool_calls")
    for call in calls[:_MESSAGES] if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            parts.append(_tool_call(call.get("id"), function.get("name"), function.get("arguments")))
    if value.get("type") in ("function_call", "function_call_output"):
        parts = [_part(value, _TEXT)]
    name = value.get("role")
    return {"role": _name(name) if isinstance(name, str) else role, "parts": parts}


def _parts(content: Any, most: int) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "content": _cut(content, most)}]
    if not isinstance(content, list):
        return []
    return [_part(part, most) for part in content[:_MESSAGES]]


def _part(part: Any, most: int) -> dict[str, Any]:
    """One part. Of what is no text, such as a picture, only its kind is named."""
    if not isinstance(part, dict):
        return {"type": "text", "content": _cut(str(part), most)}
    kind = str(part.get("type") or "text")
    if isinstance(part.get("text"), str):
        return {"type": "text", "content": _cut(part["text"], most)}
    if kind in ("tool_use", "function_call"):
        asked = part.get("input") if kind == "tool_use" else part.get("arguments")
        return _tool_call(part.get("id") or part.get("call_id"), part.get("name"), asked)
    if kind in ("tool_result", "function_call_output"):
        said = part.get("content") if kind == "tool_result" else part.get("output")
        name = part.get("tool_use_id") or part.get("call_id")
        return {"type": "tool_call_response", "id": _name(name), "response": _cut(_text(said), most)}
    return {"type": _name(kind)}


def _tool_call(name: Any, function: Any, arguments: Any) -> dict[str, Any]:
    said = _cut(_text(arguments), _TEXT)
    return {"type": "tool_call", "id": _name(name), "name": _name(function), "arguments": said}


def _name(value: Any) -> str:
    """A short text, such as an id. Callers and models may send anything in its place."""
    return _cut(_text(value), _NAME)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else _encoded(value)


def _encoded(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


def _fitted(messages: list[Message], count: int) -> str:
    """The messages as JSON of at most :data:`MOST` bytes: with shorter texts, then without the oldest."""
    most = _TEXT
    while len(msgspec.json.encode(messages)) > MOST:
        if most > 256:
            most //= 2
            messages = [_shortened(message, most) for message in messages]
        elif len(messages) > 1:
            messages = messages[(len(messages) + 1) // 2 :]
        else:
            return _encoded([{"role": "system", "parts": [_left_out(count)]}])
    if len(messages) < count:
        messages = [{"role": "system", "parts": [_left_out(count - len(messages))]}, *messages]
    return _encoded(messages)


def _shortened(message: Message, most: int) -> Message:
    parts = [
        {name: _cut(value, most) if isinstance(value, str) else value for name, value in part.items()}
        for part in message["parts"]
    ]
    return {**message, "parts": parts}


def _left_out(count: int) -> dict[str, str]:
    return {"type": "text", "content": f"[{count} messages are left out]"}
