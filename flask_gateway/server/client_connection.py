"""A caller's connection, as gunicorn's worker has it: read with a clock, written at once, closed at once.

What gunicorn's own classes do beside, they do in system calls: each of them gives the interpreter away, and
on a busy machine waits to get it back. A socket with a timeout makes two calls of each; so ours gets one
only when it turns out that there is something to wait for.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any

import msgspec
from gunicorn import http, util
from gunicorn.http import wsgi
from gunicorn.http.body import LengthReader
from gunicorn.workers import gthread

from ..model.error_headers import error_headers
from ..model.errors import CallerError, GatewayError
from ..reactor.socket_io import (
    AT_ONCE,
    SHORT,
    close_at_once,
    has_unread,
    is_readable,
    receive_at_once,
    send_all,
)

#: The longest wait for a caller's next bytes, or for it to take ours, seconds.
CALLER_SILENCE = 30.0
#: How much of a request is read at first, bytes; gunicorn's own measure.
FIRST_READ = 8192
#: Bodies that are longer than this, bytes, are read without copies.
LARGE_INPUT = 65536
#: What a caller has sent and we have not read would reset the connection when it is closed, and take
#: the end of our answer with it. So much of it is thrown away first: reads, of bytes each.
LEFTOVER_READS, LEFTOVER_SIZE = 64, SHORT


@lru_cache(maxsize=2)
def is_tls(cfg: Any) -> bool:
    """Whether callers speak TLS. gunicorn looks at each of its settings anew whenever it is asked for."""
    return bool(cfg.is_ssl)


class ClientConnection(gthread.TConn):  # type: ignore[misc]  # gunicorn ships no types
    """One connection, and the requests that come on it."""

    def __init__(self, cfg: Any, sock: socket.socket, client: Any, server: Any) -> None:
        self.cfg = cfg
        self.sock: socket.socket = sock
        self.client = client
        self.server = server
        self.timeout: float | None = None
        self.parser: Any = None
        self.initialized = False
        self.is_http2 = False
        self.data_ready = False
        #: What has been read, and not yet been given to the parser.
        self._first: bytes | None = None

    def init(self) -> None:
        """Called before every request. Over TLS the socket has just been made blocking."""
        if is_tls(self.cfg):
            super().init()
            self.sock.settimeout(CALLER_SILENCE)
        elif not self.initialized:
            self.initialized = True
            self.parser = http.get_parser(self.cfg, self, self.client)

    def wait_for_data(self, timeout: float) -> bool:
        """Whether there is something to read within so many seconds."""
        if not (self.data_ready or is_tls(self.cfg)):
            # Mostly the request has come with the connection.
            self._first = receive_at_once(self.sock, FIRST_READ)
            self.data_ready = self._first is not None
        if not self.data_ready:
            self.data_ready = is_readable(self.sock.fileno(), timeout)
        return self.data_ready

    # ------------------------------------------------------------ the parser's source, if there is no TLS

    def recv(self, size: int) -> bytes:
        """:raises TimeoutError: nothing has come for too long."""
        if self._first is not None:
            first, self._first = self._first, None
            return first
        came = receive_at_once(self.sock, size)
        if came is None:
            if not self.sock.gettimeout():
                self.sock.settimeout(CALLER_SILENCE)
            came = self.sock.recv(size)
        return came

    def recv_into(self, view: memoryview) -> int:
        """As :meth:`recv`, without a copy."""
        if self._first is None:
            with suppress(BlockingIOError):
                return self.sock.recv_into(view, 0, AT_ONCE)
            if not self.sock.gettimeout():
                self.sock.settimeout(CALLER_SILENCE)
            return self.sock.recv_into(view)
        came = self.recv(len(view))
        self._first = came[len(view) :] or None
        came = came[: len(view)]
        view[: len(came)] = came
        return len(came)

    def gettimeout(self) -> float | None:
        return self.sock.gettimeout()

    def settimeout(self, seconds: float | None) -> None:
        self.sock.settimeout(seconds)

    # ------------------------------------------------------------

    def close(self, graceful: bool = False) -> None:
        """Waits for nobody."""
        sock: socket.socket = self.sock
        with suppress(OSError):
            if graceful and has_unread(sock):
                _throw_away(sock)
            if isinstance(sock, ssl.SSLSocket):
                sock.setblocking(False)
        with suppress(OSError):
            close_at_once(sock)


class LargeInput:
    """A large body of known length (``wsgi.input``), which can be read without gunicorn's copies."""

    def __init__(self, body: Any) -> None:
        self._reader = body.reader
        self.read = body.read

    def readinto(self, view: memoryview) -> int:
        """How many bytes came, as soon as there are any; 0 at the end. As raw files have it."""
        reader = self._reader
        view = view[: reader.length]
        if not view:
            return 0
        if came := reader.unreader.take_buffered():
            fits = min(len(came), len(view))
            view[:fits] = came[:fits]
            reader.unreader.unread(came[fits:])
        else:
            fits = reader.unreader.sock.recv_into(view)
        reader.length -= fits
        return int(fits)


def input_of(body: Any) -> Any:
    """gunicorn's body, as the application is to have it."""
    reader = body.reader
    return LargeInput(body) if isinstance(reader, LengthReader) and reader.length > LARGE_INPUT else body


def _throw_away(sock: socket.socket) -> None:
    read: Callable[[], bytes | None] = partial(receive_at_once, sock, LEFTOVER_SIZE)
    if sock.gettimeout() is not None or isinstance(sock, ssl.SSLSocket):
        # By its descriptor: the socket's own method would wait as long as its timeout says.
        os.set_blocking(sock.fileno(), False)
        read = partial(os.read, sock.fileno(), LEFTOVER_SIZE)
    for _ in range(LEFTOVER_READS):
        if not read():
            break


#: Names of headers that gunicorn has found good, and that mean nothing to it; and such as do.
_good: set[str] = set()
_MEANT = frozenset({"content-length", "upgrade"})
#: More of them than this are not kept in mind. Ours are some twenty.
MOST_NAMES = 64


@lru_cache(maxsize=2)
def _date(second: int) -> str:
    return str(util.http_date(second))


UPGRADE_REQUIRED = 426


class ResponseWriter(wsgi.Response):  # type: ignore[misc]
    """The head leaves together with what follows it."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.headers_sent: bool = False
        self._head = b""

    def process_headers(self, headers: list[tuple[str, str]]) -> None:
        """As gunicorn's, which looks at every name anew."""
        for name, value in headers:
            if name in _good and value.isascii() and value.isprintable():
                self.headers.append((name, value.strip(" ")))
                continue
            before = len(self.headers)
            super().process_headers([(name, value)])
            if len(self.headers) > before and name.lower() not in _MEANT and len(_good) < MOST_NAMES:
                _good.add(name)

    def default_headers(self) -> list[str]:
        """As gunicorn's, without upgrades. A 426 has to name the protocol that is spoken instead (RFC 9110,
        15.5.22); by PEP 3333 that is the server's to say."""
        major, minor = self.req.version
        headers = [
            f"HTTP/{major}.{minor} {self.status}\r\nServer: {self.version}\r\n"
            f"Date: {_date(int(time.time()))}\r\n"
            f"Connection: {'close' if self.should_close() else 'keep-alive'}\r\n"
        ]
        if self.chunked:
            headers.append("Transfer-Encoding: chunked\r\n")
        if self.status_code == UPGRADE_REQUIRED:
            headers.append("Upgrade: HTTP/1.1\r\nConnection: Upgrade\r\n")
        return headers

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
        send_all(self.sock, self.take_head() + framed, CALLER_SILENCE)

    def close(self) -> None:
        rest = self.take_head() + (b"0\r\n\r\n" if self.chunked else b"")
        if rest:
            send_all(self.sock, rest, CALLER_SILENCE)


class UnparsableRequest(CallerError):
    """The server could not read the request at all, so no view ever saw it."""

    code = "bad_request"


def refusal(error: GatewayError, status: str, request_id: str) -> bytes:
    """A whole answer, for those whom no view answers. Its connection is not kept.

    :param status: with its reason.
    """
    body = msgspec.json.encode(error.envelope())
    headers = "".join(f"{name}: {value}\r\n" for name, value in error_headers(error).items())
    head = (
        f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nx-request-id: {request_id}\r\n{headers}\r\n"
    )
    return head.encode("ascii") + body


def write_error(sock: socket.socket, status: int, reason: str, message: str) -> str:
    """Answer what gunicorn refuses, in the envelope of all other refusals.

    :param message: gunicorn's, which may quote the caller.
    :return: the id that the request was given.
    """
    error = UnparsableRequest(f"{reason}: {message[:200]}" if message else f"{reason}.")
    request_id = os.urandom(16).hex()
    util.write_nonblock(sock, refusal(error, f"{status} {reason}", request_id))
    return request_id
