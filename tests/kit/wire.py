"""Speaks HTTP as a caller: whole answers, streams with a clock, and raw bytes."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from kit.planted import PROMPT

TIMEOUT = 15.0


class Answer(NamedTuple):
    """A response. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error in it. Asserts the shape of the OpenAI API."""
        assert self.headers["content-type"].startswith("application/json"), self
        assert set(self.json) == {"error"}, self.json
        error = self.json["error"]
        assert {"message", "type", "param", "code"} <= set(error), error
        assert isinstance(error["message"], str)
        return dict(error)


def ask(port: int, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
    """Send a request on a new connection. A body that is not ``bytes`` is sent as JSON."""
    named = {"content-type": "application/json", **(headers or {})} if body is not None else headers or {}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        connection.request(method, path, body if isinstance(body, bytes | None) else json.dumps(body), named)
        return _answer(connection.getresponse())
    finally:
        connection.close()


def _answer(response: http.client.HTTPResponse) -> Answer:
    return Answer(response.status, _headers(response), response.read())


def _headers(response: http.client.HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.getheaders()}


def send_raw(port: int, data: bytes) -> Answer:
    """Send raw bytes and read the response. A peer that stops reading is no fault."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as sock:
        with suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(data)
        with http.client.HTTPResponse(sock) as response:
            response.begin()
            return _answer(response)


def send_header_lines(
    port: int, *lines: bytes, body: bytes = b"", target: bytes = b"GET /v1/models"
) -> Answer:
    """Send a request with exactly these header lines."""
    first = [target + b" HTTP/1.1", f"Host: 127.0.0.1:{port}".encode(), *lines]
    return send_raw(port, b"\r\n".join([*first, b"", b""]) + body)


def head(port: int, path: str, key: str, *lines: str, version: str = "1.1") -> bytes:
    """The head of a POST, for ``send_raw``."""
    first = [f"POST {path} HTTP/{version}", f"Host: 127.0.0.1:{port}", f"Authorization: Bearer {key}"]
    return "\r\n".join([*first, "Content-Type: application/json", *lines, "", ""]).encode()


def stream_body(model: str) -> dict[str, Any]:
    """The body of a request for a chat stream with its usage."""
    return {
        "model": model,
        "stream": True,
        "messages": [{"role": "user", "content": PROMPT}],
        "stream_options": {"include_usage": True},
    }


class Stream:
    """A response that is read as it arrives."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._response = http.client.HTTPResponse(sock)
        self._response.begin()
        self.status = self._response.status
        self.version = self._response.version
        self.headers = _headers(self._response)
        self._buffer = b""

    def events(self) -> Iterator[tuple[float, str]]:
        """The data of each event, and the time at which it was complete."""
        while data := self._response.read1(65536):
            self._buffer += data
            while b"\n\n" in self._buffer:
                event, _, self._buffer = self._buffer.partition(b"\n\n")
                lines = event.decode().split("\n")
                yield time.monotonic(), "".join(line[6:] for line in lines if line.startswith("data: "))

    def read(self) -> bytes:
        """The body, as it is."""
        return self._response.read()

    def data(self) -> list[str]:
        """The data of all remaining events."""
        return [data for _, data in self.events()]

    def close(self) -> None:
        self._response.close()
        self._sock.close()


@contextmanager
def open_stream(
    port: int, key: str, model: str, path: str = "/v1/chat/completions", version: str = "1.1", **more: Any
) -> Iterator[Stream]:
    """Request a stream of the model. Leaving the block closes the connection, read or not."""
    body: dict[str, Any] = {"model": model, "stream": True, **more}
    if path.endswith("/chat/completions"):
        body["messages"] = [{"role": "user", "content": PROMPT}]
    encoded = json.dumps(body).encode()
    sock = socket.create_connection(("127.0.0.1", port), TIMEOUT)
    try:
        sock.sendall(head(port, path, key, f"Content-Length: {len(encoded)}", version=version) + encoded)
        stream = Stream(sock)
    except BaseException:
        sock.close()
        raise
    try:
        yield stream
    finally:
        stream.close()


def content(data: list[str]) -> str:
    """The text that the chunks of a chat stream add up to."""
    chunks = [json.loads(item) for item in data if item != "[DONE]"]
    choices = [choice for chunk in chunks for choice in chunk.get("choices", ())]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def bearer(key: str) -> bytes:
    """The header line of a key."""
    return f"Authorization: Bearer {key}".encode()
