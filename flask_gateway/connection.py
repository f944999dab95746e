"""A caller's connection, as gunicorn's worker has it: read with a clock, written at once, closed at once.

What gunicorn's own classes do beside, they do in system calls: each of them gives the interpreter away, and
on a busy machine waits to get it back.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
from contextlib import suppress
from typing import Any

import msgspec
from gunicorn import http, util
from gunicorn.http import wsgi
from gunicorn.workers import gthread

from .errors import CallerError, GatewayError

#: The longest wait for a caller's next bytes, or for it to take ours, seconds.
CALLER_SILENCE = 30.0
#: What a caller has sent and we have not read would reset the connection when it is closed, and take
#: the end of our answer with it. So much of it is thrown away first: reads, of bytes each.
LEFTOVER_READS, LEFTOVER_SIZE = 16, 65536


class Connection(gthread.TConn):  # type: ignore[misc]  # gunicorn ships no types
    """One connection, and the requests that come on it."""

    def __init__(self, cfg: Any, sock: socket.socket, client: Any, server: Any) -> None:
        self.cfg = cfg
        self.sock = sock
        self.client = client
        self.server = server
        self.timeout: float | None = None
        self.parser: Any = None
        self.initialized = False
        self.is_http2 = False
        self.data_ready = False

    def init(self) -> None:
        """Called before every request, when the socket has just been made blocking."""
        if self.cfg.is_ssl:
            super().init()
        elif not self.initialized:
            self.initialized = True
            self.parser = http.get_parser(self.cfg, self.sock, self.client)
        self.sock.settimeout(CALLER_SILENCE)

    def wait_for_data(self, timeout: float) -> bool:
        """Whether there is something to read within so many seconds."""
        if not self.data_ready:
            poll = select.poll()
            poll.register(self.sock, select.POLLIN)
            self.data_ready = bool(poll.poll(timeout * 1000))
        return self.data_ready

    def close(self, graceful: bool = False) -> None:
        """Waits for nobody."""
        sock: socket.socket = self.sock
        with suppress(OSError):
            if sock.gettimeout() is None or isinstance(sock, ssl.SSLSocket):
                sock.setblocking(False)
            # Not by the socket's own method, which would wait as long as its timeout says.
            for _ in range(LEFTOVER_READS if graceful else 0):
                if not os.read(sock.fileno(), LEFTOVER_SIZE):
                    break
        with suppress(OSError):
            sock.close()


class Response(wsgi.Response):  # type: ignore[misc]
    """The head leaves together with what follows it."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.headers_sent: bool = False
        self._head = b""

    def send_headers(self) -> None:
        if not self.headers_sent:
            ours = [f"{name}: {value}\r\n" for name, value in self.headers]
            self._head = "".join([*self.default_headers(), *ours, "\r\n"]).encode("latin-1")
            self.headers_sent = True

    def take_head(self) -> bytes:
        """The head, if it has not been sent; who takes it sends it."""
        self.send_headers()
        head, self._head = self._head, b""
        return head

    def _emit_body(self, data: bytes) -> None:
        framed = b"%X\r\n%b\r\n" % (len(data), data) if self.chunked else data
        self.sock.sendall(self.take_head() + framed)

    def close(self) -> None:
        rest = self.take_head() + (b"0\r\n\r\n" if self.chunked else b"")
        if rest:
            self.sock.sendall(rest)


class NotHttp(CallerError):
    """The server could not read the request at all, so no view ever saw it."""

    code = "bad_request"


def refusal(error: GatewayError, status: str, request_id: str) -> bytes:
    """A whole answer, for those whom no view answers. Its connection is not kept.

    :param status: with its reason.
    """
    body = msgspec.json.encode(error.envelope())
    wait = "" if error.retry_after is None else f"Retry-After: {error.retry_after:.0f}\r\n"
    head = (
        f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n{wait}x-request-id: {request_id}\r\n"
        f"x-gateway-error-origin: {error.origin}\r\n\r\n"
    )
    return head.encode("ascii") + body


def write_error(sock: socket.socket, status: int, reason: str, message: str) -> str:
    """Answer what gunicorn refuses, in the envelope of all other refusals.

    :param message: gunicorn's, which may quote the caller.
    :return: the id that the request was given.
    """
    error = NotHttp(f"{reason}: {message[:200]}" if message else f"{reason}.")
    request_id = os.urandom(16).hex()
    util.write_nonblock(sock, refusal(error, f"{status} {reason}", request_id))
    return request_id
