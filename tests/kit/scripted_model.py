"""An upstream that acts like a model in a coding client's turn, in Messages, Responses or chat, on 127.0.0.1.

A plan says what the model does next from what it has seen. The same plan serves all three APIs.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from flask_gateway.cli.selftest.scripted_provider import EVENTS, POLL, Exchange, Request, ScriptedServer


class Part(NamedTuple):
    """A part of an answer.

    :param kind: ``text``, ``reasoning`` or ``call``. :param name: of the tool.
    :param custom: its input is a text: the argument ``input``.
    """

    kind: str
    text: str = ""
    name: str = ""
    arguments: dict[str, Any] = {}  # noqa: RUF012 - a default of a tuple
    custom: bool = False


class Seen(NamedTuple):
    """The part of a request that the plan reads.

    :param tools: their names. :param results: how many results of tools it has. :param first: the first user
        message, as JSON. :param body: the whole body.
    """

    tools: set[str]
    results: int
    first: str
    body: dict[str, Any]


Plan = Callable[[Seen], list[Part]]


def text(what: str) -> Part:
    return Part("text", what)


def call(tool: str, **arguments: Any) -> Part:
    return Part("call", "", tool, arguments)


def seen(body: dict[str, Any]) -> Seen:
    items = body.get("messages") or body.get("input") or []
    items = items if isinstance(items, list) else [{"role": "user", "content": items}]
    users = [item for item in items if item.get("role") == "user"]
    results = sum(_results(item) for item in items)
    return Seen(set(_tools(body)), results, json.dumps(users[0] if users else {}), body)


def _results(item: dict[str, Any]) -> int:
    if item.get("role") == "tool" or str(item.get("type")).endswith("_output"):
        return 1
    content = item.get("content")
    return sum(part.get("type") == "tool_result" for part in content) if isinstance(content, list) else 0


def _tools(body: dict[str, Any]) -> Iterator[str]:
    for tool in body.get("tools") or []:
        yield (tool.get("function") or tool).get("name") or tool.get("type")


class ScriptedModel:
    """The upstream.

    :ivar asked: the path and the body of each request.
    :ivar down_after: the number of requests after which it answers 503; ``None``: it never does.
    """

    def __init__(self, plan: Plan) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        #: When each came, seconds of ``time.monotonic()``.
        self.times: list[float] = []
        self.down_after: int | None = None
        self._plan = plan
        self._lock = threading.Lock()
        self._server = ScriptedServer(self._serve)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(POLL,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.port}/v1"

    def close(self) -> None:
        self._server.close()
        self._thread.join()

    def _serve(self, sock: socket.socket, request: Request, _peer: int) -> bool:
        exchange, body = Exchange(sock, request), request.json
        path = request.path.partition("?")[0].removeprefix("/v1/")
        with self._lock:
            number = len(self.asked)
            self.asked.append((path, body))
            self.times.append(time.monotonic())
        if self.down_after is not None and number >= self.down_after:
            error = {"message": "Down.", "type": "server_error", "code": None, "param": None}
            exchange.answer(503, json.dumps({"type": "error", "error": error}).encode())
        elif path == "messages/count_tokens":
            exchange.answer(200, b'{"input_tokens": 42}')
        else:
            self._answer(exchange, path, number, self._plan(seen(body)))
        return exchange.keep_alive

    @staticmethod
    def _answer(exchange: Exchange, path: str, number: int, parts: list[Part]) -> None:
        stream, whole = _APIS[path]
        if not exchange.stream:
            exchange.answer(200, json.dumps(whole(parts, number)).encode())
            return
        exchange.begin(200, EVENTS)
        for event in stream(parts, number):
            name = f"event: {event['type']}\n" if "type" in event else ""
            exchange.write(f"{name}data: {json.dumps(event)}\n\n".encode())
        if path == "chat/completions":
            exchange.write(b"data: [DONE]\n\n")
        exchange.end()


# ---------------------------------------------------------------- Anthropic Messages


def _blocks(parts: list[Part], number: int) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    for place, part in enumerate(parts):
        if part.kind == "text":
            blocks.append({"type": "text", "text": part.text})
        elif part.kind == "reasoning":
            blocks.append({"type": "thinking", "thinking": part.text, "signature": "c2lnbmF0dXJl"})
        else:
            identifier = f"toolu_{number}_{place}"
            blocks.append({"type": "tool_use", "id": identifier, "name": part.name, "input": part.arguments})
    return blocks


def _message(parts: list[Part], number: int) -> dict[str, Any]:
    stop = "tool_use" if any(part.kind == "call" for part in parts) else "end_turn"
    head = {"id": f"msg_{number}", "type": "message", "role": "assistant", "model": "scripted"}
    usage = {"input_tokens": 10, "output_tokens": 12}
    return {
        **head,
        "content": _blocks(parts, number),
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": usage,
    }


def _message_events(parts: list[Part], number: int) -> Iterator[dict[str, Any]]:
    message = _message(parts, number)
    yield {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}}
    for index, block in enumerate(message["content"]):
        yield from _block_events(block, index)
    delta = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": delta, "usage": message["usage"]}
    yield {"type": "message_stop"}


def _block_events(block: dict[str, Any], index: int) -> Iterator[dict[str, Any]]:
    deltas = {
        "text": [("text_delta", "text", block.get("text"))],
        "thinking": [
            ("thinking_delta", "thinking", block.get("thinking")),
            ("signature_delta", "signature", block.get("signature")),
        ],
        "tool_use": [("input_json_delta", "partial_json", json.dumps(block.get("input")))],
    }[block["type"]]
    empty = {"text": "", "thinking": "", "signature": "", "input": {}}
    start = {name: empty.get(name, value) for name, value in block.items()}
    yield {"type": "content_block_start", "index": index, "content_block": start}
    for kind, field, value in deltas:
        yield {"type": "content_block_delta", "index": index, "delta": {"type": kind, field: value}}
    yield {"type": "content_block_stop", "index": index}


# ---------------------------------------------------------------- OpenAI Responses


def _items(parts: list[Part], number: int) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    for place, part in enumerate(parts):
        identifier = f"item_{number}_{place}"
        if part.kind == "text":
            content = [{"type": "output_text", "text": part.text, "annotations": []}]
            item = {"type": "message", "role": "assistant", "status": "completed", "content": content}
        elif part.kind == "reasoning":
            summary = [{"type": "summary_text", "text": part.text}]
            item = {"type": "reasoning", "summary": summary, "encrypted_content": "ZW5jcnlwdGVk"}
        else:
            arguments = json.dumps(part.arguments)
            item = {"type": "function_call", "name": part.name, "arguments": arguments}
            if part.custom:
                item = {"type": "custom_tool_call", "name": part.name, "input": part.arguments["input"]}
            item["call_id"] = f"call_{number}_{place}"
        items.append({"id": identifier, **item})
    return items


def _response(parts: list[Part], number: int) -> dict[str, Any]:
    tokens = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    head = {"id": f"resp_{number}", "object": "response", "created_at": 1, "model": "scripted"}
    return {**head, "status": "completed", "output": _items(parts, number), "usage": tokens}


def _response_events(parts: list[Part], number: int) -> Iterator[dict[str, Any]]:
    response = _response(parts, number)
    begun = {**response, "status": "in_progress", "output": [], "usage": None}
    events: list[dict[str, Any]] = [{"type": "response.created", "response": begun}]
    for index, item in enumerate(response["output"]):
        events.append({"type": "response.output_item.added", "output_index": index, "item": item})
        if item["type"] == "message":
            delta = {"item_id": item["id"], "content_index": 0, "delta": item["content"][0]["text"]}
            events.append({"type": "response.output_text.delta", "output_index": index, **delta})
        events.append({"type": "response.output_item.done", "output_index": index, "item": item})
    events.append({"type": "response.completed", "response": response})
    for sequence, event in enumerate(events):
        yield {**event, "sequence_number": sequence}


# ---------------------------------------------------------------- chat


def _chat_message(parts: list[Part], number: int) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None}
    for place, part in enumerate(parts):
        if part.kind == "text":
            message["content"] = (message["content"] or "") + part.text
        elif part.kind == "reasoning":
            message["reasoning_content"] = part.text
        else:
            function = {"name": part.name, "arguments": json.dumps(part.arguments)}
            calls = message.setdefault("tool_calls", [])
            calls.append({"id": f"call_{number}_{place}", "type": "function", "function": function})
    return message


def _chat(parts: list[Part], number: int) -> dict[str, Any]:
    finish = "tool_calls" if any(part.kind == "call" for part in parts) else "stop"
    choice = {"index": 0, "message": _chat_message(parts, number), "finish_reason": finish}
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    head = {"id": f"chatcmpl-{number}", "object": "chat.completion", "created": 1, "model": "scripted"}
    return {**head, "choices": [choice], "usage": usage}


def _chunks(parts: list[Part], number: int) -> Iterator[dict[str, Any]]:
    whole = _chat(parts, number)
    head = {**whole, "object": "chat.completion.chunk"}
    usage = head.pop("usage")
    message = whole["choices"][0]["message"]
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{name: message[name]} for name in ("reasoning_content", "content") if message.get(name)]
    for index, one in enumerate(message.get("tool_calls", [])):
        arguments = one["function"]["arguments"]
        begun = {**one, "index": index, "function": {**one["function"], "arguments": ""}}
        deltas.append({"tool_calls": [begun]})
        halves = arguments[: len(arguments) // 2], arguments[len(arguments) // 2 :]
        deltas += [{"tool_calls": [{"index": index, "function": {"arguments": half}}]} for half in halves]
    for delta in deltas:
        yield {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield {
        **head,
        "choices": [{"index": 0, "delta": {}, "finish_reason": whole["choices"][0]["finish_reason"]}],
    }
    yield {**head, "choices": [], "usage": usage}


#: By path: the events of a stream, and the whole answer.
_APIS: dict[str, tuple[Callable[..., Iterator[dict[str, Any]]], Callable[..., dict[str, Any]]]] = {
    "messages": (_message_events, _message),
    "responses": (_response_events, _response),
    "chat/completions": (_chunks, _chat),
}
