"""Answers as a provider that stores responses and files, for tests: each has a name of its own in its ids."""

from __future__ import annotations

import json
import threading
from typing import Any

from flask_gateway.cli.selftest.scripted_provider import EVENTS, Exchange
from kit.media_provider import Received, events

USAGE = {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8}


class StoringAnswers:
    """The responses of one provider, by id.

    :param name: the beginning of its ids.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.stored: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()

    def __call__(self, exchange: Exchange, got: Received) -> None:
        path, _, query = got.path.partition("?")
        rest = path.removeprefix("/v1/").split("/")
        if rest[0] != "responses":
            self._raw(exchange, got, rest)
        elif len(rest) == 1:
            self._make(exchange, got)
        else:
            self._about(exchange, got.method, rest[1], rest[2:], query)

    def _make(self, exchange: Exchange, got: Received) -> None:
        background = got.json.get("background") is True
        with self._lock:
            made: dict[str, Any] = {
                "id": f"resp_{self.name}{len(self.stored)}",
                "object": "response",
                "status": "queued" if background else "completed",
                "output": [],
                "usage": None if background else USAGE,
                "background": background,
            }
            self.stored[made["id"]] = made
        if got.json.get("stream"):
            self._stream(exchange, made)
        else:
            exchange.answer(200, json.dumps(made).encode())

    def _stream(self, exchange: Exchange, made: dict[str, Any]) -> None:
        begun = {**made, "status": "in_progress", "usage": None}
        delta = {"type": "response.output_text.delta", "item_id": "m", "delta": "Hello"}
        done = {"type": "response.completed", "response": {**made, "status": "completed", "usage": USAGE}}
        exchange.begin(200, EVENTS)
        numbered = [{"type": "response.created", "response": begun}, delta, done]
        for part in events(*({**one, "sequence_number": at} for at, one in enumerate(numbered))):
            exchange.write(part)
        exchange.end()

    def _about(self, exchange: Exchange, method: str, name: str, action: list[str], query: str) -> None:
        made = self.stored.get(name)
        if made is None:
            error = {"message": f"Response with id '{name}' not found.", "type": "invalid_request_error"}
            exchange.answer(404, json.dumps({"error": {**error, "param": None, "code": None}}).encode())
        elif method == "DELETE":
            del self.stored[name]
            exchange.answer(200, json.dumps({"id": name, "object": "response", "deleted": True}).encode())
        elif action == ["input_items"]:
            item = {"type": "message", "id": "msg_1", "role": "user", "status": "completed", "content": []}
            page = {
                "object": "list",
                "data": [item],
                "has_more": False,
                "first_id": "msg_1",
                "last_id": "msg_1",
            }
            exchange.answer(200, json.dumps(page).encode())
        elif action == ["cancel"]:
            made["status"] = "cancelled"
            exchange.answer(200, json.dumps(made).encode())
        elif "stream=true" in query:
            self._stream(exchange, made)
        else:
            exchange.answer(200, json.dumps(made).encode())

    def _raw(self, exchange: Exchange, got: Received, rest: list[str]) -> None:
        """Files and batches; ``files/none`` has no body, ``files/gone`` is missing."""
        if rest[-1] == "none":
            exchange.begin(204, framing="length", length=0)
        elif rest[-1] == "gone":
            exchange.answer(404, b'{"error":{"message":"No such file.","type":"invalid_request_error"}}')
        elif rest[-1] == "page":
            exchange.answer(200, b"<script>", "text/html")
        elif rest[-1] == "content":
            exchange.begin(200, "application/jsonl")
            for _ in range(20):
                exchange.write(b'{"a":1}\n' * 1000)
            exchange.end()
        else:
            kind = got.headers.get("content-type", "")
            made = {"id": f"file_{self.name}", "bytes": len(got.body), "type": kind, "path": got.path}
            exchange.answer(201 if got.method == "POST" else 200, json.dumps(made).encode())
