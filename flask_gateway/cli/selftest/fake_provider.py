"""Simulates a faulty provider with plain sockets, so that faults can control every byte.

It reads requests; a **behaviour** (``faults.py``) answers them. Uses the standard library only.
"""

from __future__ import annotations

import json
import select
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

#: The interval at which a provider checks whether to stop, seconds.
POLL = 0.02


class PeerLeft(Exception):
    """The client has disconnected, or the provider is being closed."""


class ProviderExchange:
    """One request, with the socket for the answer.

    :param number: how many requests the provider received before this one.
    """

    def __init__(self, sock: socket.socket, body: bytes, provider: Provider, number: int) -> None:
        self.number = number
        self.provider = provider
        self.body: dict[str, Any] = json.loads(body)
        self.keep_alive = True
        self._sock = sock
        self._chunked = False

    @property
    def stream(self) -> bool:
        return self.body.get("stream") is True

    def send(self, data: bytes) -> None:
        try:
            self._sock.sendall(data)
        except OSError:
            raise PeerLeft from None

    def wait(self, seconds: float) -> None:
        """Wait for this many seconds of the run, or until the client disconnects."""
        until = time.monotonic() + seconds * self.provider.scale
        while (left := until - time.monotonic()) > 0:
            try:
                readable, _, _ = select.select([self._sock], [], [], left)
                if readable and not self._sock.recv(1, socket.MSG_PEEK):
                    raise PeerLeft
            except (OSError, ValueError):
                raise PeerLeft from None

    def answer(self, status: int, body: bytes, headers: str = "") -> None:
        """Send a complete JSON answer with Content-Length."""
        head = f"HTTP/1.1 {status} Selftest\r\nContent-Type: application/json\r\n"
        self.send(f"{head}Content-Length: {len(body)}\r\n{headers}\r\n".encode() + body)

    def begin(self) -> None:
        """Send the head of a stream."""
        self._chunked = True
        kind = "Content-Type: text/event-stream"
        self.send(f"HTTP/1.1 200 Selftest\r\n{kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())

    def write(self, data: bytes) -> None:
        self.send(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self) -> None:
        self.send(b"0\r\n\r\n")

    def hang_up(self) -> None:
        """Close the connection after this answer, even if the answer is incomplete."""
        self.keep_alive = False

    def reset(self) -> None:
        """Reset the connection (RST)."""
        self.keep_alive = False
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()


Behaviour = Callable[[ProviderExchange], None]


class _Connection(socketserver.BaseRequestHandler):
    """Serves the requests of one connection."""

    server: _Server

    def handle(self) -> None:
        sock: socket.socket = self.request
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while (body := _read_request(sock)) is not None:
                exchange = self.server.provider.asked_now(sock, body)
                self.server.provider.behaviour(exchange)
                if not exchange.keep_alive:
                    return
        except (OSError, PeerLeft):
            return


class _Server(socketserver.ThreadingTCPServer):
    """The listening socket. Closing it joins the threads of all connections."""

    daemon_threads = False
    block_on_close = True
    request_queue_size = 64

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        for sock in list(self._open):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it was closed already


class Provider:
    """One upstream of the run. It listens until it is closed.

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
        self._server = _Server(self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(POLL,), name=f"{model} provider"
        )
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def asked_now(self, sock: socket.socket, body: bytes) -> ProviderExchange:
        with self._lock:
            self.asked.append(time.monotonic())
            return ProviderExchange(sock, body, self, len(self.asked) - 1)

    def close(self) -> None:
        """Stop listening, close all connections, and join all threads."""
        self._server.shutdown()
        self._thread.join()
        self._server.hang_up()
        self._server.server_close()


def _read_request(sock: socket.socket) -> bytes | None:
    """The body of the next request; ``None`` at the end. The gateway always sends Content-Length."""
    received = b""
    while b"\r\n\r\n" not in received:
        data = sock.recv(65536)
        if not data:
            return None
        received += data
    head, _, body = received.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    length = int(lengths[0].partition(b":")[2]) if lengths else 0
    while len(body) < length:
        data = sock.recv(65536)
        if not data:
            return None
        body += data
    return body
