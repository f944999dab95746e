"""Reads and writes a caller's connection for gunicorn's worker: with timeouts, and few system calls.

gunicorn's classes make extra system calls. Each releases the GIL, which a thread gets back slowly under load.
A socket with a timeout needs two system calls for each operation. So ours gets a timeout only when a read
has to wait.
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
from gunicorn.http.errors import LimitRequestHeaders
from gunicorn.workers import gthread

from ..dialects.openai import envelope
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
from .body_input import may_be_followed

#: The longest wait for a caller to send bytes, or to read ours, seconds.
CALLER_TIMEOUT = 30.0
#: The size of the first read of a request, bytes; the same as gunicorn's.
FIRST_READ = 8192
#: How long a thread waits for the first bytes of a new connection, seconds. They usually come with it.
FIRST_WAIT = 0.002
#: The largest request head, bytes. Heads in parts are kept in memory without a thread (``parked_heads.py``).
MAX_HEAD = 65536
#: Closing a socket with unread bytes resets the connection, and the caller loses the end of our answer. So we
#: first read and discard up to this much: the number of reads, and the bytes of each.
LEFTOVER_READS, LEFTOVER_SIZE = 64, SHORT


@lru_cache(maxsize=2)
def is_tls(cfg: Any) -> bool:
    """Whether callers speak TLS. Cached, because gunicorn computes its settings at each access."""
    return bool(cfg.is_ssl)


_HEAD_END = b"\r\n\r\n"


class HeadIncomplete(Exception):
    """The request head has not arrived whole."""


class ClientConnection(gthread.TConn):  # type: ignore[misc]  # gunicorn ships no types
    """One connection and its requests."""

    #: Whether the worker relays WebSocket sessions.
    carries_sessions = False

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
        #: Bytes that were read and that the parser has not had yet.
        self._first: bytes | None = None
        #: The bytes of a head that takes several reads, and those of its first read.
        self._head: bytearray | None = None
        self._begun: bytes | None = None
        #: How much of the head the parser had when it found it incomplete, bytes.
        self._parsed = 0
        #: Whether the parser reads a head now, so that no read waits; whether the caller has sent its end.
        self._in_head = self._at_end = False
        #: Called before a read of a body waits. It may raise an error to refuse the wait.
        self.before_wait: Callable[[], None] | None = None

    def init(self) -> None:
        """gunicorn calls this before every request. Over TLS it has just made the socket blocking."""
        if is_tls(self.cfg):
            super().init()
            self.sock.settimeout(CALLER_TIMEOUT)
        elif not self.initialized:
            self.initialized = True
            self.parser = http.get_parser(self.cfg, self, self.client)

    def wait_for_data(self, timeout: float) -> bool:
        """Wait up to so many seconds. Returns whether there is something to read."""
        if not (self.data_ready or is_tls(self.cfg)):
            # Usually the request arrives with the connection.
            self._first = receive_at_once(self.sock, FIRST_READ)
            self.data_ready = self._first is not None
        if not self.data_ready:
            self.data_ready = is_readable(self.sock.fileno(), timeout)
        return self.data_ready

    def next_request(self) -> Any:
        """Parse the next request from what has arrived, without waiting. Not for TLS.

        :raises HeadIncomplete: the head has not arrived whole. Another call parses it from its beginning.
        :raises StopIteration: the caller sends no further request.
        """
        if self.parser.req_count and (ahead := self.parser.unreader.take_buffered()):
            self._first = ahead + (self._first or b"")  # read together with the previous request's body
        self._in_head, self._head = True, None
        self._begun = self._first
        try:
            return next(self.parser)
        except HeadIncomplete:
            self.parser.req_count -= 1
            self._head = self._head or bytearray(self._begun or b"")
            self._parsed = len(self._head)
            _check_size(self._head)
            raise
        finally:
            self._in_head = False

    @property
    def has_left(self) -> bool:
        """Whether the caller has ended the connection without sending bytes of a request."""
        return self._at_end and not self._head

    def await_next(self) -> bool:
        """Make ready for the next request. Returns whether bytes of it have already been read.

        The body of the last request has been read to its end."""
        self.parser.mesg = None
        self._head = self._begun = None
        self._parsed = 0
        self.data_ready = False
        if self.sock.gettimeout() is not None:
            self.sock.settimeout(None)
        return bool(self._first or self.parser.unreader.buf.getbuffer().nbytes)

    def collect_head(self) -> bool:
        """Read more of an incomplete head, without waiting. Returns whether to parse it again: when it may be
        complete, and each time it has doubled, because its beginning may be wrong.

        :raises OSError: the caller is gone.
        """
        received = receive_at_once(self.sock, FIRST_READ)
        if received is None:
            return False
        if self._head is None:  # the connection was silent so far
            self._head = bytearray()
        head, before = self._head, len(self._head)
        head += received
        self.data_ready, self._at_end = True, not received
        is_whole = head.find(_HEAD_END, max(0, before - 3)) >= 0
        if received and not is_whole and len(head) < min(2 * self._parsed, MAX_HEAD + 1):
            return False
        self._first = bytes(head)
        return True

    # ------------------------------------------------------------ the parser's source, if there is no TLS

    def recv(self, size: int) -> bytes:
        """:raises TimeoutError: the caller has sent nothing for :data:`CALLER_TIMEOUT`.
        :raises HeadIncomplete: the rest of the head has not arrived."""
        if self._first is not None:
            first, self._first = self._first, None
            return first
        received = receive_at_once(self.sock, size)
        if self._in_head:
            return self._more_of_head(received)
        if received is None:
            self._prepare_to_wait()
            received = self.sock.recv(size)
        return received

    def _more_of_head(self, received: bytes | None) -> bytes:
        """Keep what has arrived of a head that takes several reads."""
        if self._at_end:
            return b""
        if received is None:
            raise HeadIncomplete
        if self._head is None:
            self._head = bytearray(self._begun or b"")
        self._head += received
        _check_size(self._head)
        return received

    def _prepare_to_wait(self) -> None:
        if self.before_wait is not None:
            self.before_wait()
        if not self.sock.gettimeout():
            self.sock.settimeout(CALLER_TIMEOUT)

    def recv_into(self, view: memoryview) -> int:
        """The same as :meth:`recv`, without a copy."""
        if self._first is None:
            with suppress(BlockingIOError):
                return self.sock.recv_into(view, 0, AT_ONCE)
            self._prepare_to_wait()
            return self.sock.recv_into(view)
        received = self.recv(len(view))
        self._first = received[len(view) :] or None
        received = received[: len(view)]
        view[: len(received)] = received
        return len(received)

    def gettimeout(self) -> float | None:
        return self.sock.gettimeout()

    def settimeout(self, seconds: float | None) -> None:
        self.sock.settimeout(seconds)

    # ------------------------------------------------------------

    def take_ahead(self) -> bytes:
        """Return what the caller has sent behind the head of its last request."""
        ahead: bytes = self.parser.unreader.take_buffered() + (self._first or b"")
        self._first = None
        return ahead

    def close(self, graceful: bool = False) -> None:
        """Close without blocking."""
        sock: socket.socket = self.sock
        with suppress(OSError):
            if graceful and has_unread(sock):
                _discard_unread(sock)
            if isinstance(sock, ssl.SSLSocket):
                sock.setblocking(False)
        with suppress(OSError):
            close_at_once(sock)


def _check_size(head: bytearray) -> None:
    if len(head) > MAX_HEAD:
        raise LimitRequestHeaders("max buffer headers")


def _discard_unread(sock: socket.socket) -> None:
    read: Callable[[], bytes | None] = partial(receive_at_once, sock, LEFTOVER_SIZE)
    if sock.gettimeout() is not None or isinstance(sock, ssl.SSLSocket):
        # Read the descriptor, because the socket's own method would wait for its timeout.
        os.set_blocking(sock.fileno(), False)
        read = partial(os.read, sock.fileno(), LEFTOVER_SIZE)
    for _ in range(LEFTOVER_READS):
        if not read():
            break


#: Header names that gunicorn has accepted and gives no meaning to; and the names that it gives a meaning.
_checked: set[str] = set()
_SPECIAL = frozenset({"content-length", "upgrade"})
#: The size of ``_checked``. Our answers use some twenty names.
MOST_NAMES = 64


@lru_cache(maxsize=2)
def _date(second: int) -> str:
    return str(util.http_date(second))


SWITCHING, UPGRADE_REQUIRED = 101, 426
#: Answers that close the connection: a caller without a key keeps none, and one that was refused for want of
#: room may find another worker by its next connection.
_CLOSING = frozenset({401, 503})


class ResponseWriter(wsgi.Response):  # type: ignore[misc]
    """Sends the head together with the first part of the body."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.headers_sent: bool = False
        self._head = b""
        #: Whether the head promises that the connection stays open.
        self.stays_open = False

    @property
    def is_complete(self) -> bool:
        """Whether the whole body was written, so that the next answer may follow."""
        return bool(self.response_length is None or self._omits_body or self.sent == self.response_length)

    def process_headers(self, headers: list[tuple[str, str]]) -> None:
        """Collect the headers. gunicorn's method checks every name each time; this checks each name once."""
        for name, value in headers:
            if name in _checked and value.isascii() and value.isprintable():
                self.headers.append((name, value.strip(" ")))
                continue
            before = len(self.headers)
            super().process_headers([(name, value)])
            if len(self.headers) > before and name.lower() not in _SPECIAL and len(_checked) < MOST_NAMES:
                _checked.add(name)

    def default_headers(self) -> list[str]:
        """gunicorn's headers, without upgrades.

        A 426 has to name the protocol to use instead (RFC 9110, 15.5.22). By PEP 3333 only the server may
        set ``Upgrade``.
        """
        major, minor = self.req.version
        closes = self.must_close or self.status_code in _CLOSING or not may_be_followed(self.req)
        self.stays_open = not (closes or self.should_close())
        headers = [
            f"HTTP/{major}.{minor} {self.status}\r\nServer: {self.version}\r\n"
            f"Date: {_date(int(time.time()))}\r\n"
            f"Connection: {'keep-alive' if self.stays_open else 'close'}\r\n"
        ]
        if self.status_code == SWITCHING:  # the application names the protocol
            self.chunked = False
            return [f"{headers[0].rpartition('Connection:')[0]}Connection: Upgrade\r\n"]
        if self.chunked:
            headers.append("Transfer-Encoding: chunked\r\n")
        if self.status_code == UPGRADE_REQUIRED:
            headers.append("Upgrade: HTTP/1.1\r\nConnection: Upgrade\r\n")
        return headers

    def send_headers(self) -> None:
        if not self.headers_sent:
            fields = [f"{name}: {value}\r\n" for name, value in self.headers]
            self._head = "".join([*self.default_headers(), *fields, "\r\n"]).encode("latin-1")
            self.headers_sent = True

    def take_head(self) -> bytes:
        """Return the head if it is unsent, else nothing. The caller of this method sends it."""
        self.send_headers()
        head, self._head = self._head, b""
        return head

    def _emit_body(self, data: bytes) -> None:
        framed = b"%X\r\n%b\r\n" % (len(data), data) if self.chunked else data
        send_all(self.sock, self.take_head() + framed, CALLER_TIMEOUT)

    def close(self) -> None:
        rest = self.take_head() + (b"0\r\n\r\n" if self.chunked else b"")
        if rest:
            send_all(self.sock, rest, CALLER_TIMEOUT)


class UnparsableRequest(CallerError):
    """The server could not parse the request, so no view saw it."""

    code = "bad_request"


def refusal(error: GatewayError, status: str, request_id: str) -> bytes:
    """Render a complete error answer for a request that no view sees. It closes the connection.

    :param status: the status code and its reason. :param request_id: also the id of a new trace.
    """
    body = msgspec.json.encode(envelope(error))
    headers = "".join(f"{name}: {value}\r\n" for name, value in error_headers(error).items())
    head = (
        f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"x-request-id: {request_id}\r\nx-trace-id: {request_id}\r\n{headers}\r\n"
    )
    return head.encode("ascii") + body


def write_error(sock: socket.socket, status: int, reason: str, message: str) -> str:
    """Answer a request that gunicorn refuses, in the same JSON as all other errors.

    :param message: gunicorn's message, which may quote the request.
    :return: the request id.
    """
    error = UnparsableRequest(f"{reason}: {message[:200]}" if message else f"{reason}.")
    request_id = os.urandom(16).hex()
    util.write_nonblock(sock, refusal(error, f"{status} {reason}", request_id))
    return request_id
