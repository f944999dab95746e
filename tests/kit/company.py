"""Plays what the example plugins talk to: a model, Presidio's analyzer, and the receiver of a webhook."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from typing import Any

from kit.local_server import LocalServer

#: The answer of the model, unless it is asked to check a prompt.
SAID = "Ann's address is ann@example.org."


class Company(LocalServer):
    """A server on a free port. Use it as a context manager.

    :ivar records: those that the webhook posted. :ivar asked: the models that were asked.
    """

    def __init__(self) -> None:
        super().__init__()
        self.records: list[dict[str, Any]] = []
        self.asked: list[str] = []

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["content-length"])))
        kind, answer = self._said(handler.path, body)
        handler.send_response(200)
        handler.send_header("content-type", kind)
        handler.send_header("content-length", str(len(answer)))
        handler.end_headers()
        handler.wfile.write(answer)

    def _said(self, path: str, body: Any) -> tuple[str, bytes]:
        if path == "/records":
            self.records += body
            return "application/json", b"{}"
        if path == "/analyze":
            return "application/json", json.dumps(_people(body["text"])).encode()
        self.asked.append(body["model"])
        text = SAID
        if body["model"] == "checker":
            text = "ATTACK" if "Ignore all" in body["messages"][-1]["content"] else "SAFE"
        if body.get("stream"):
            return "text/event-stream", b"".join(_events(text))
        return "application/json", json.dumps(_completion("message", text)).encode()


def _people(text: str) -> list[dict[str, Any]]:
    at = text.find("Ann")
    found = {"start": at, "end": at + 3, "entity_type": "PERSON", "score": 0.9}
    return [found] if at >= 0 else []


def _completion(name: str, text: str, reason: str | None = "stop") -> dict[str, Any]:
    choice = {"index": 0, name: {"role": "assistant", "content": text}, "finish_reason": reason}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [choice],
        "usage": usage,
    }


def _events(text: str) -> list[bytes]:
    """The text as a stream with a letter in each event."""
    chunks = [_completion("delta", letter, None) for letter in text] + [_completion("delta", "", "stop")]
    for chunk in chunks:
        chunk["object"] = "chat.completion.chunk"
        del chunk["usage"]
    return [*(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks), b"data: [DONE]\n\n"]
