"""Runs a scripted provider: an upstream on plain sockets, whose behaviour controls every byte of an answer.

``selftest`` and the tests (``tests/kit/scripted_upstream.py``) add their behaviours. Uses the standard
library only.
"""

from __future__ import annotations

import json
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, BinaryIO, NamedTuple

from ...reactor.socket_io import is_readable

#: The interval at which a server checks whether to stop, seconds.
POLL = 0.02

JSON = "application/json"
EVENTS = "text/event-stream"


class PeerLeft(Exception):
    """The client has disconnected, or the provider is being closed."""


class Request(NamedTuple):
    """A request as received."""

    method: str
    path: str
    headers: list[list[str]]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        """The body, if it is a JSON object; otherwise an empty one."""
        try:
            parsed = json.loads(self.body)
        except ValueError:
            return {}
        return parsed if isinstance(parsed, dict) else {}

    def header(self, name: str) -> str:
        """The first header of this name (in lower case); empty when there is none."""
        return next((value for key, value in self.headers if key.lower() == name), "")


def read_request(stream: BinaryIO) -> Request | None:
    """The next request of a connection; ``None`` at the end.

    :raises ValueError: the request has no valid length. :raises OSError: the connection broke.
    """
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
    length = int(request.header("content-length") or 0)
    body = stream.read(length)
    return request._replace(body=body) if len(body) == length else None


def _read_chunks(stream: BinaryIO) -> bytes:
    body = b""
    while size := int(stream.readline(), 16):
        body += stream.read(size)
        stream.readline()
    stream.readline()
    return body


def chunk(data: bytes) -> bytes:
    """One chunk of the chunked transfer coding (RFC 9112, 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


#: The chunk that ends a body.
LAST_CHUNK = b"0\r\n\r\n"


class Exchange:
    """One request, with the socket for the answer.

    :param scale: the length of a second of :meth:`wait`, seconds.
    """

    def __init__(self, sock: socket.socket, request: Request, scale: float = 1.0) -> None:
        self.request = request
        self.keep_alive = True
        self._sock = sock
        self._scale = scale
        self._framing = "length"
        self._began = False

    @property
    def stream(self) -> bool:
        """Whether the request asks for a stream."""
        return self.request.json.get("stream") is True

    def send(self, data: bytes) -> None:
        """Send bytes as they are. :raises PeerLeft: the client has disconnected."""
        self._began = True
        try:
            self._sock.sendall(data)
        except OSError:
            raise PeerLeft from None

    def wait(self, seconds: float) -> None:
        """Wait for this many (scaled) seconds. :raises PeerLeft: as soon as the client disconnects."""
        until = time.monotonic() + seconds * self._scale
        while (left := until - time.monotonic()) > 0:
            try:
                if is_readable(self._sock.fileno(), left) and not self._sock.recv(1, socket.MSG_PEEK):
                    raise PeerLeft
            except (OSError, ValueError):
                raise PeerLeft from None

    def begin(
        self,
        status: int = 200,
        kind: str = EVENTS,
        framing: str = "chunked",
        length: int = 0,
        headers: str = "",
    ) -> None:
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
        """Send a part of the body, in the framing of the head."""
        self.send(chunk(data) if self._framing == "chunked" else data)

    def end(self) -> None:
        """End the body."""
        if self._framing == "chunked":
            self.send(LAST_CHUNK)
        self.keep_alive = self.keep_alive and self._framing != "close"

    def answer(self, status: int, body: bytes, kind: str = JSON, headers: str = "") -> None:
        """Send a complete answer with Content-Length."""
        self.begin(status, kind, "length", len(body), headers)
        self.send(body)

    def hang_up(self, how: str = "close") -> None:
        """Close the connection, even if the answer is incomplete.

        :param how: ``close`` when the behaviour returns, or ``reset`` (RST) when the sent bytes have arrived.
        """
        self.keep_alive = False
        if how == "reset":
            if self._began:
                time.sleep(0.02)
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._sock.close()


#: Answers one request that came from a peer's port. Returns whether the connection stays open.
Serve = Callable[[socket.socket, Request, int], bool]


class _Connection(socketserver.BaseRequestHandler):
    """Serves the requests of one connection."""

    server: ScriptedServer

    def handle(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(OSError, ValueError, PeerLeft), self.request.makefile("rb") as stream:
            while (request := read_request(stream)) is not None:
                if not self.server.serve(self.request, request, self.client_address[1]):
                    return


class ScriptedServer(socketserver.ThreadingTCPServer):
    """The listening socket, with a thread for each connection. ``close()`` joins all threads."""

    daemon_threads = False
    block_on_close = True
    allow_reuse_address = True
    request_queue_size = 256

    def __init__(self, serve: Serve, port: int = 0) -> None:
        self.serve = serve
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Connection)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def close(self) -> None:
        """Stop listening, close all connections, join their threads. ``serve_forever`` must be running."""
        self.shutdown()
        for sock in list(self._open):
            with suppress(OSError):  # it was closed already
                sock.shutdown(socket.SHUT_RDWR)
        self.server_close()


class ProviderExchange(Exchange):
    """A request to a :class:`ScriptedProvider`.

    :param number: how many requests the provider received before this one.
    """

    def __init__(
        self, sock: socket.socket, request: Request, provider: ScriptedProvider, number: int
    ) -> None:
        super().__init__(sock, request, provider.scale)
        self.provider = provider
        self.number = number


Behaviour = Callable[[ProviderExchange], None]


class ScriptedProvider:
    """One upstream of a self-test. It listens until it is closed.

    :param model: the model name in its answers. :param scale: the length of a second of the run, seconds.
    """

    def __init__(self, model: str, behaviour: Behaviour, scale: float) -> None:
        self.model = model
        self.behaviour = behaviour
        self.scale = scale
        self.started = time.monotonic()
        #: The arrival time of each request, seconds of ``time.monotonic()``.
        self.asked: list[float] = []
        self._lock = threading.Lock()
        self._server = ScriptedServer(self._serve)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(POLL,), name=f"{model} provider"
        )
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.port}/v1"

    def _serve(self, sock: socket.socket, request: Request, _peer: int) -> bool:
        with self._lock:
            self.asked.append(time.monotonic())
            exchange = ProviderExchange(sock, request, self, len(self.asked) - 1)
        self.behaviour(exchange)
        return exchange.keep_alive

    def close(self) -> None:
        """Stop listening, close all connections, and join all threads."""
        self._server.close()
        self._thread.join()
