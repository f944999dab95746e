"""Reads an upstream's answer from its connection, blocking or non-blocking.

It replaces urllib3's response class, of which only ``read1`` is needed. It adds a non-blocking read, which
that class lacks.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException, RemoteDisconnected
from ssl import SSLEOFError, SSLSocket, SSLWantReadError, SSLWantWriteError, SSLZeroReturnError
from typing import Any

from ...reactor.socket_io import receive, wait_at_most
from .http1 import CutShort, Framing, Head, MalformedResponse, TlsRecord, end_of_head, framing_of, read_head

#: The most bytes of one blocking read.
READ_SIZE = 65536
#: The most bytes of one non-blocking read. The relay's other streams wait while it parses them. Events of the
#: usual size that come one by one never fill it.
PIECE = 16384
#: The exceptions of a read when the upstream has closed the connection.
CLOSED = (ConnectionError, SSLEOFError, SSLZeroReturnError)
#: The first bytes of a TLS alert: its type, and the major version of the protocol.
_ALERT = b"\x15\x03"
#: The most interim heads (1xx) before the answer's. Parsing each costs time, and sending them costs little.
MAX_INTERIM = 100


class UpstreamResponse:
    """An answer of which the head has come. One thread at a time may use it."""

    __slots__ = (
        "__weakref__",
        "_connection",
        "_first",
        "_framing",
        "_pool",
        "_sock",
        "_tls",
        "closed",
        "headers",
        "reason",
        "status",
    )

    def __init__(self, connection: Any, head: Head, first: bytes) -> None:
        self.status = head.status
        self.reason = head.reason
        self.headers = head.headers
        #: The connection until it is given back, and the pool that it goes back to.
        self._connection: Any = None
        self._pool: Any = None
        self._sock: socket.socket = connection.sock
        self._tls: SSLSocket | None = self._sock if isinstance(self._sock, SSLSocket) else None
        self._framing: Framing = framing_of(head)
        #: Bytes of the body that came in one read with the head.
        self._first = first
        #: Whether it has been read to the end, or closed.
        self.closed = False

    def lend(self, connection: Any, pool: Any) -> None:
        """Set the connection and the pool that it goes back to when the answer has been read."""
        self._connection, self._pool = connection, pool
        if self.over:  # there is no body
            self._finish()

    @property
    def over(self) -> bool:
        """Whether the end of the body has been seen."""
        return self._framing.over

    @property
    def holds(self) -> bool:
        """Whether a read returns at once without the socket: buffered bytes, a fault, or the end."""
        if self._first or self.closed or self._framing.fault is not None:
            return True
        return self._tls is not None and self._tls.pending() > 0

    def fileno(self) -> int:
        """Return the socket's descriptor; -1 when the socket has been closed."""
        return self._sock.fileno()

    def settimeout(self, seconds: float) -> None:
        """Set how long :meth:`read1` waits. With 0, call :meth:`receive` instead."""
        if self.closed:
            return
        if self._connection is not None:
            self._connection.patience = None
        if seconds:
            wait_at_most(self._sock, seconds)
        else:
            self._sock.settimeout(0)

    def read1(self, size: int = READ_SIZE, decode_content: bool = False) -> bytes:
        """Wait for bytes of the body and return them; ``b""`` at its end.

        :param decode_content: must be false: ``unpacking.py`` handles content codings.
        :raises HTTPException: the body broke off, or is not HTTP. :raises OSError: the connection was lost.
        """
        while not (self.closed or self.over):
            if data := self._take(self._receive, size):
                return data
        self._finish()
        return b""

    def receive(self) -> bytes | None:
        """Like :meth:`read1`, without blocking: ``None`` when nothing has come. Needs a timeout of 0."""
        framing = self._framing
        if not (self.closed or framing.over):
            try:
                if self._first or framing.fault is not None:
                    data = self._take(self._sock.recv, PIECE)
                else:  # `_take` without its call: this runs once per event
                    received = self._sock.recv(PIECE)
                    data = framing.feed(received) if received else b""
                    if not data or framing.over:
                        self._check_end(received, data)
            except (BlockingIOError, SSLWantReadError, SSLWantWriteError):
                # A TLS key update may have to write. The next read retries it.
                return None
            if data or not framing.over:
                return data or None
        self._finish()
        return b""

    def send(self, data: bytes | bytearray) -> int:
        """Send bytes behind a switch of protocols (status 101), as many as fit. Needs a timeout of 0.

        :raises OSError: the connection is lost.
        """
        try:
            return self._sock.send(data)
        except (BlockingIOError, SSLWantReadError, SSLWantWriteError):
            return 0

    def _receive(self, size: int) -> bytes:
        return receive(self._sock, size)

    def _take(self, recv: Callable[[int], bytes], size: int) -> bytes:
        framing = self._framing
        if framing.fault is not None:
            raise framing.fault
        if self._first:
            received, self._first = self._first, b""
        else:
            received = recv(size)
        data = framing.feed(received) if received else b""
        self._check_end(received, data)
        return data

    def _check_end(self, received: bytes, data: bytes) -> None:
        """Note the end of the connection or of the body. Raise a fault that no valid byte came before.

        :param data: the bytes of the body in the received ones.
        """
        framing = self._framing
        if not received:
            framing.end()
        elif framing.over:
            self._finish()
        elif not data and framing.fault is not None:
            raise framing.fault

    def _finish(self) -> None:
        """Give the connection back to the pool after the body. Close it first if it is not reusable."""
        if self.closed:
            return
        self.closed = True
        connection, self._connection = self._connection, None
        if connection is not None:
            if self._first or not self._framing.reusable:
                connection.close()
            self._pool.put_back(connection)

    def close(self) -> None:
        """Close the connection, unless it is back in the pool."""
        if self.closed:
            return
        self.closed = True
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        else:  # closed before :meth:`lend`
            with suppress(OSError):
                self._sock.close()


def read_response(connection: Any) -> UpstreamResponse:
    """Wait for the head of an answer. Return as soon as it has come.

    :param connection: a connection on which a request has been sent.
    :raises RemoteDisconnected: the upstream closed it before a byte of an answer had come.
    :raises HTTPException: the bytes are no answer, or the head broke off.
    :raises OSError: the connection was lost before a byte of an answer had come.
    """
    sock, data, scanned, begun = connection.sock, bytearray(), 0, False
    for _ in range(MAX_INTERIM + 1):
        while (end := end_of_head(data, scanned) if data else -1) < 0:
            scanned = len(data)
            try:
                received = receive(sock, READ_SIZE)
            except CLOSED as error:
                if not begun:
                    raise
                raise _cut_head(data, "reset") from error
            if not received and begun:
                raise _cut_head(data, "closed")
            if not received:
                raise RemoteDisconnected("closed without an answer")
            begun = True
            data += received
        head, data, scanned = read_head(data[:end]), data[end:], 0
        # 1xx heads come before the answer (RFC 9110, section 15.2), except 101, which would leave HTTP.
        if head.status >= 200 or head.status == 101:
            return UpstreamResponse(connection, head, bytes(data))
    raise MalformedResponse(f"more than {MAX_INTERIM} heads before that of the answer")


def _cut_head(data: bytearray, how: str) -> HTTPException:
    """Return the exception for half a head. A TLS server answers HTTP with an alert, and closes."""
    return TlsRecord() if data.startswith(_ALERT) else CutShort(f"{how} in the middle of the head")
