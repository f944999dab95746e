"""Runs a scripted OpenAI-like upstream, good or faulty, in its own process.

``python -m kit.scripted_upstream --port 0``, in ``tests/``, prints its port. The request's ``model`` names
the behaviour, as ``behaviour,option=value,…`` of ``behaviours.py``. An unknown name gets a proper answer.
Uses plain sockets, so that it controls every byte on the wire.

``POST /_script {"answers": [behaviour, …]}`` sets the answers to the next requests, whatever their model;
``GET /_requests`` lists the requests; ``POST /_reset`` forgets both.
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import socketserver
import struct
import threading
import time
from typing import Any, BinaryIO, NamedTuple


class PeerGone(Exception):
    """The client has closed the connection."""


class Request(NamedTuple):
    """A request as received."""

    method: str
    path: str
    headers: list[list[str]]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        try:
            parsed = json.loads(self.body)
        except ValueError:
            return {}
        return parsed if isinstance(parsed, dict) else {}

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name), "")


def read_request(stream: BinaryIO) -> Request | None:
    """The next request of a connection; ``None`` when there is none."""
    line = stream.readline().decode("latin-1").split()
    if len(line) != 3:
        return None
    headers = []
    while (text := stream.readline().decode("latin-1").rstrip("\r\n")) != "":
        name, _, value = text.partition(":")
        headers.append([name, value.strip()])
    request = Request(line[0], line[1], headers, b"")
    if request.header("transfer-encoding"):
        return request._replace(body=_read_chunks(stream))
    return request._replace(body=stream.read(int(request.header("content-length") or 0)))


def _read_chunks(stream: BinaryIO) -> bytes:
    body = b""
    while size := int(stream.readline(), 16):
        body += stream.read(size)
        stream.readline()
    stream.readline()
    return body


class Exchange:
    """A request, and the socket for the answer."""

    def __init__(self, sock: socket.socket, request: Request, state: State) -> None:
        self.request = request
        self.state = state
        self.keep_alive = True
        self._sock = sock
        self._framing = "length"

    @property
    def stream(self) -> bool:
        return self.request.json.get("stream") is True

    def send(self, data: bytes) -> None:
        try:
            self._sock.sendall(data)
        except OSError:
            raise PeerGone from None

    def wait(self, seconds: float) -> None:
        """Pause, or raise ``PeerGone`` as soon as the client closes."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            readable, _, _ = select.select([self._sock], [], [], left)
            try:
                if readable and not self._sock.recv(1, socket.MSG_PEEK):
                    raise PeerGone
            except OSError:
                raise PeerGone from None

    def begin(self, status: int, kind: str, framing: str, length: int = 0, headers: str = "") -> None:
        """Send the head. ``framing`` is ``length``, ``chunked`` or ``close``."""
        self._framing = framing
        framed = {
            "length": f"Content-Length: {length}",
            "chunked": "Transfer-Encoding: chunked",
            "close": "Connection: close",
        }[framing]
        head = f"HTTP/1.1 {status} Scripted\r\nContent-Type: {kind}\r\n{framed}\r\n{headers}\r\n"
        self.send(head.encode("latin-1"))

    def write(self, data: bytes) -> None:
        self.send(b"%x\r\n%b\r\n" % (len(data), data) if self._framing == "chunked" else data)

    def end(self) -> None:
        if self._framing == "chunked":
            self.send(b"0\r\n\r\n")
        self.keep_alive = self.keep_alive and self._framing != "close"

    def answer(self, status: int, body: bytes, kind: str = "application/json", headers: str = "") -> None:
        self.begin(status, kind, "length", len(body), headers)
        self.send(body)

    def hang_up(self, how: str = "close") -> None:
        """Close the connection: ``close`` it, or ``reset`` it after the sent bytes have arrived."""
        self.keep_alive = False
        if how == "reset":
            time.sleep(0.02)
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class State:
    """The received requests and the script. Shared by all connections, guarded by its lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.script: list[str] = []
        self.seen: set[str] = set()

    def record(self, request: Request, connection: int) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "method": request.method,
            "path": request.path,
            "headers": request.headers,
            "body": request.body.decode("utf-8", "replace"),
            "connection": connection,
            "at": time.monotonic(),
            "ended": None,
            "ended_at": None,
        }
        with self.lock:
            self.requests.append(entry)
        return entry

    def behaviour(self, request: Request) -> str:
        with self.lock:
            return self.script.pop(0) if self.script else str(request.json.get("model", "ok"))

    def first_time(self, what: str) -> bool:
        with self.lock:
            new = what not in self.seen
            self.seen.add(what)
        return new


class Connection(socketserver.BaseRequestHandler):
    """Serves one connection, request after request."""

    server: Upstream

    def handle(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self.request.makefile("rb") as stream:
            try:
                while (request := read_request(stream)) is not None and self._serve(request):
                    pass
            except (OSError, ValueError):
                return

    def _serve(self, request: Request) -> bool:
        exchange = Exchange(self.request, request, self.server.state)
        if request.path.startswith("/_"):
            control(exchange)
            return True
        entry = self.server.state.record(request, self.client_address[1])
        try:
            perform(exchange, self.server.state.behaviour(request))
        except PeerGone:
            entry.update(ended="peer left", ended_at=time.monotonic())
            return False
        entry.update(ended="complete" if exchange.keep_alive else "hung up", ended_at=time.monotonic())
        return exchange.keep_alive


class Upstream(socketserver.ThreadingTCPServer):
    """The listening socket: a thread per connection."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256

    def __init__(self, port: int) -> None:
        self.state = State()
        super().__init__(("127.0.0.1", port), Connection)


def control(exchange: Exchange) -> None:
    """Serve the endpoints for tests."""
    state = exchange.state
    with state.lock:
        if exchange.request.path == "/_reset":
            state.reset()
        elif exchange.request.path == "/_script":
            state.script = list(exchange.request.json["answers"])
        body = json.dumps(state.requests).encode()
    exchange.answer(200, body)


def perform(exchange: Exchange, behaviour: str) -> None:
    """Perform the behaviour ``name,option=value,…``."""
    from kit.behaviours import BEHAVIOURS, Options, ok
    from kit.hostile import HOSTILE

    name, *settings = behaviour.split(",")
    options = Options(setting.split("=", 1) for setting in settings)
    (BEHAVIOURS | HOSTILE).get(name, ok)(exchange, options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    with Upstream(parser.parse_args().port) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
