"""Writes answers as upstreams send them, and reads them as callers do: one text in all dialects."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from ..model.call import Operation

#: The texts of an answer: of each choice (or block, or item) its kind, ``content``, ``reasoning`` or
#: ``arguments``, and its text in pieces.
Pieces = Sequence[tuple[str, Sequence[str]]]
#: The texts by place and kind, as a caller reads them.
Heard = dict[tuple[int, str], str]


def body_of(operation: Operation, pieces: Pieces) -> dict[str, Any]:
    """An answer in one document."""
    texts = [(kind, "".join(parts)) for kind, parts in pieces]
    if operation is Operation.MESSAGE:
        usage = {"input_tokens": 1, "output_tokens": 1}
        content = [_block(kind, text) for kind, text in texts]
        return {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": content,
                "stop_reason": "end_turn", "usage": usage}  # fmt: skip
    if operation is Operation.RESPONSE:
        output = [_item(kind, text, index) for index, (kind, text) in enumerate(texts)]
        return {"id": "resp_1", "object": "response", "status": "completed", "output": output,
                "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}}  # fmt: skip
    choices = [_choice(operation, kind, text, index) for index, (kind, text) in enumerate(texts)]
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return {"id": "c_1", "object": "chat.completion", "model": "m", "choices": choices, "usage": usage}


def _choice(operation: Operation, kind: str, text: str, index: int) -> dict[str, Any]:
    if operation is Operation.COMPLETION:
        return {"index": index, "text": text, "finish_reason": "stop"}
    message = {"role": "assistant", "content": None, **_chat_part(kind, text)}
    return {"index": index, "message": message, "finish_reason": "stop"}


def _chat_part(kind: str, text: str) -> dict[str, Any]:
    if kind == "arguments":
        function = {"name": "f", "arguments": text}
        return {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]}
    return {"reasoning_content" if kind == "reasoning" else "content": text}


def _block(kind: str, text: str) -> dict[str, Any]:
    if kind == "arguments":
        return {"type": "tool_use", "id": "toolu_1", "name": "f", "input": json.loads(text) if text else {}}
    name = "thinking" if kind == "reasoning" else "text"
    return {"type": name, name: text}


def _item(kind: str, text: str, index: int) -> dict[str, Any]:
    if kind == "arguments":
        named = {"id": f"fc_{index}", "call_id": "call_1", "name": "f"}
        return {"type": "function_call", **named, "arguments": text}
    if kind == "reasoning":
        return {"type": "reasoning", "id": f"rs_{index}", "summary": [{"type": "summary_text", "text": text}]}
    named = {"id": f"msg_{index}", "role": "assistant", "status": "completed"}
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", **named, "content": content}


def events_of(operation: Operation, pieces: Pieces) -> bytes:
    """The same as a stream: an event for each piece."""
    if operation is Operation.MESSAGE:
        return b"".join(map(_named, _message_events(pieces)))
    if operation is Operation.RESPONSE:
        numbered = ({**event, "sequence_number": n} for n, event in enumerate(_response_events(pieces)))
        return b"".join(map(_named, numbered))
    events = [_data(event) for event in _chunks(operation, pieces)]
    return b"".join([*events, b"data: [DONE]\n\n"])


def _data(document: Mapping[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(document) + b"\n\n"


def _named(document: Mapping[str, Any]) -> bytes:
    return f"event: {document['type']}\n".encode() + _data(document)


def _chunks(operation: Operation, pieces: Pieces) -> Iterator[dict[str, Any]]:
    """Chunks of all choices, in turn."""
    shared = {"id": "c_1", "object": "chat.completion.chunk", "model": "m"}
    for place in range(max((len(parts) for _, parts in pieces), default=0)):
        for index, (kind, parts) in enumerate(pieces):
            if place >= len(parts):
                continue
            text = parts[place]
            said = {"text": text} if operation is Operation.COMPLETION else {"delta": _chat_part(kind, text)}
            yield {**shared, "choices": [{"index": index, **said, "finish_reason": None}]}
    for index in range(len(pieces)):
        nothing: dict[str, Any] = {"text": ""} if operation is Operation.COMPLETION else {"delta": {}}
        yield {**shared, "choices": [{"index": index, **nothing, "finish_reason": "stop"}]}


def _message_events(pieces: Pieces) -> Iterator[dict[str, Any]]:
    start = {**body_of(Operation.MESSAGE, ()), "stop_reason": None}
    yield {"type": "message_start", "message": start}
    kinds = {"content": ("text_delta", "text"), "reasoning": ("thinking_delta", "thinking"),
             "arguments": ("input_json_delta", "partial_json")}  # fmt: skip
    for index, (kind, parts) in enumerate(pieces):
        yield {"type": "content_block_start", "index": index, "content_block": _block(kind, "")}
        name, field = kinds[kind]
        for text in parts:
            yield {"type": "content_block_delta", "index": index, "delta": {"type": name, field: text}}
        yield {"type": "content_block_stop", "index": index}
    yield {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}}
    yield {"type": "message_stop"}


#: Of each kind of text the kind of event, the field with all of it, and its place within an item.
_STEMS: Mapping[str, tuple[str, str, Mapping[str, int]]] = {
    "content": ("output_text", "text", {"content_index": 0}),
    "arguments": ("function_call_arguments", "arguments", {}),
    "reasoning": ("reasoning_summary_text", "text", {"summary_index": 0}),
}


def _response_events(pieces: Pieces) -> Iterator[dict[str, Any]]:
    begun = {"id": "resp_1", "object": "response", "status": "in_progress", "output": []}
    yield {"type": "response.created", "response": begun}
    for index, (kind, parts) in enumerate(pieces):
        where = {"item_id": f"item_{index}", "output_index": index}
        yield {"type": "response.output_item.added", **where, "item": _item(kind, "", index)}
        stem, field, place = _STEMS[kind]
        for text in parts:
            yield {"type": f"response.{stem}.delta", **where, **place, "delta": text}
        whole = "".join(parts)
        yield {"type": f"response.{stem}.done", **where, **place, field: whole}
        yield {"type": "response.output_item.done", **where, "item": _item(kind, whole, index)}
    yield {"type": "response.completed", "response": body_of(Operation.RESPONSE, pieces)}


# ---------------------------------------------------------------- what a caller reads


def heard_body(operation: Operation, body: Mapping[str, Any]) -> Heard:
    """The texts of an answer in one document, by place and kind."""
    heard: Heard = {}
    for index, one in enumerate(body.get("choices") or body.get("content") or body.get("output") or ()):
        for kind, text in _texts(operation, one):
            heard[one.get("index", index), kind] = text
    return heard


def _texts(operation: Operation, one: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if operation is Operation.COMPLETION:
        yield "content", one["text"]
    elif operation is Operation.CHAT:
        yield from _chat_texts(one.get("message") or one.get("delta") or {})
    elif one["type"] == "tool_use":
        yield "arguments", msgspec.json.encode(one["input"]).decode()
    elif one["type"] in ("text", "thinking"):
        yield "content" if one["type"] == "text" else "reasoning", one[one["type"]]
    elif one["type"] == "function_call":
        yield "arguments", one["arguments"]
    else:
        parts = one.get("content") or one.get("summary") or ()
        yield "reasoning" if one["type"] == "reasoning" else "content", "".join(p["text"] for p in parts)


def _chat_texts(said: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, kind in (("content", "content"), ("reasoning_content", "reasoning")):
        if said.get(name):
            yield kind, said[name]
    for tool in said.get("tool_calls") or ():
        yield "arguments", tool["function"]["arguments"]


def heard_events(operation: Operation, sent: bytes) -> Heard:
    """The texts of a stream. Those that events of the Responses API repeat have to be the same."""
    heard: Heard = {}
    for event in sent.decode().split("\n\n"):
        data = event.rpartition("data: ")[2]
        if not data or data == "[DONE]":
            continue
        for place, text in _deltas(operation, json.loads(data)):
            heard[place] = heard.get(place, "") + text
    if operation is Operation.RESPONSE:
        _check_repetitions(sent, heard)
    return {place: text for place, text in heard.items() if text}


def _deltas(operation: Operation, event: Mapping[str, Any]) -> Iterator[tuple[tuple[int, str], str]]:
    if operation is Operation.MESSAGE:
        kinds = {"text": "content", "thinking": "reasoning", "partial_json": "arguments"}
        for name, kind in kinds.items():
            if event["type"] == "content_block_delta" and name in event["delta"]:
                yield (event["index"], kind), event["delta"][name]
    elif operation is Operation.RESPONSE:
        if event["type"].endswith(".delta"):
            stem = event["type"].split(".")[1]
            kind = {"output_text": "content", "function_call_arguments": "arguments"}.get(stem, "reasoning")
            yield (event["output_index"], kind), event["delta"]
    else:
        for one in event["choices"]:
            yield from (((one["index"], kind), text) for kind, text in _texts(operation, one))


def _check_repetitions(sent: bytes, heard: Heard) -> None:
    events = [json.loads(e.rpartition("data: ")[2]) for e in sent.decode().split("\n\n") if e]
    numbers = [event["sequence_number"] for event in events]
    assert numbers == list(range(len(numbers))), "the events are numbered in a row"
    said = {place: text for place, text in heard.items() if text}
    last = heard_body(Operation.RESPONSE, events[-1]["response"])
    assert {place: text for place, text in last.items() if text} == said, "the last event repeats the texts"
    done = [event for event in events if event["type"] == "response.output_item.done"]
    for event in done:
        for kind, text in _texts(Operation.RESPONSE, event["item"]):
            assert text == said.get((event["output_index"], kind), ""), "an item repeats its text"
