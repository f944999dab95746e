"""Plays what the example plugins talk to: a model, Presidio's analyzer, and the receiver of a webhook."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: The answer of the model, unless it is asked to check a prompt.
SAID = "Ann's address is ann@example.org."


class Company:
    """A server on a free port. Use it as a context manager.

    :ivar records: those that the webhook posted. :ivar asked: the models that were asked.
    """

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.asked: list[str] = []
        company = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                kind, answer = company._answer(self.path, body)
                self.send_response(200)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *args: object) -> None:
                """Print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Company:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, path: str, body: Any) -> tuple[str, bytes]:
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
