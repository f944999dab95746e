"""Tests what commands with ``--url`` say when a gateway refuses, or is none."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from flask_gateway.cli.running_gateway import NotAnswered, request

Serving = Callable[[int, bytes], str]


@pytest.fixture
def serving() -> Iterator[Serving]:
    """Start a server that answers each request with this status and body. Returns its URL."""
    servers: list[ThreadingHTTPServer] = []

    def start(status: int, body: bytes) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.server.seen = self.path, self.headers["Authorization"]  # type: ignore[attr-defined]
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (403, b'{"error": {"message": "For the operator."}}', "answered 403: For the operator."),
        (502, b"<html>", "answered 502: no reason was given"),
        (200, b"<html>", "did not answer as a gateway"),
        (200, b'{"other": []}', "did not answer as a gateway"),
    ],
)
def test_an_answer_that_is_none(serving: Serving, status: int, body: bytes, said: str) -> None:
    with pytest.raises(NotAnswered, match=said):
        request(serving(status, body), "key", "/v1/x", "GET", "data")


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "file:///etc/passwd", "ftp://a.test"])
def test_a_url_that_is_none_of_a_gateway(url: str) -> None:
    with pytest.raises(NotAnswered, match="begins with http:// or https://"):
        request(url, "key", "/v1/x", "GET", "data")


def test_no_server_listens() -> None:
    with pytest.raises(NotAnswered, match="did not answer as a gateway"):
        request("http://127.0.0.1:9", "key", "/v1/x", "GET", "data")


def test_the_rows_of_an_answer(serving: Serving) -> None:
    url = serving(200, json.dumps({"data": [{"a": 1}]}).encode())
    assert request(url + "/", "key", "/v1/x", "GET", "data") == [{"a": 1}]
