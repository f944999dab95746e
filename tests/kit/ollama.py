"""Plays Ollama: lists two models and answers chats. ``python -m kit.ollama PORT`` serves."""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODELS = ("llama3.2:3b", 'odd"name')
WORDS = "Hello from a model server"


class OllamaHandler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        rows = [{"id": name, "object": "model", "owned_by": "library"} for name in MODELS]
        self._send({"object": "list", "data": rows})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        choice = {"index": 0, "message": {"role": "assistant", "content": WORDS}, "finish_reason": "stop"}
        self._send(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1,
                "model": asked["model"],
                "choices": [choice],
                "usage": {"prompt_tokens": 1, "completion_tokens": 5, "total_tokens": 6},
            }
        )

    def _send(self, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def ollama_server(port: int) -> ThreadingHTTPServer:
    return ThreadingHTTPServer(("127.0.0.1", port), OllamaHandler)


if __name__ == "__main__":
    ollama_server(int(sys.argv[1])).serve_forever()
