"""An upstream's answer on its connection: read by a thread that waits, or by one that never does.

It takes the place of urllib3's response class, of which only ``read1`` is needed here, and adds what that
one cannot give: the bytes that have come, without waiting for more.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from http.client import RemoteDisconnected
from ssl import SSLEOFError, SSLSocket, SSLWantReadError, SSLWantWriteError, SSLZeroReturnError
from typing import Any

from ...reactor.socket_io import receive, wait_at_most
from .http1 import CutShort, Framing, Head, MalformedResponse, end_of_head, framing_of, read_head

#: The most bytes taken from a connection in one read.
READ_SIZE = 65536
#: And by a thread that carries many answers, for while it looks through what it took the others wait. Events
#: of the usual size that come one by one never fill it.
PIECE = 16384
#: How a read fails when the other side has closed the connection.
CLOSED = (ConnectionError, SSLEOFError, SSLZeroReturnError)
#: The most heads that may come before that of the answer. Each costs time, and they cost an upstream none.
MAX_INTERIM = 100


class UpstreamResponse:
    """A head that has come, and a body that comes. Belongs to one thread at a time."""

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
        #: The connection while it is ours, and where it goes back to.
        self._connection: Any = None
        self._pool: Any = None
        self._sock: socket.socket = connection.sock
        self._tls: SSLSocket | None = self._sock if isinstance(self._sock, SSLSocket) else None
        self._framing: Framing = framing_of(head)
        #: What came behind the head, in the same read.
        self._first = first
        #: Whether nothing more is wanted of it.
        self.closed = False

    def lend(self, connection: Any, pool: Any) -> None:
        """Give the connection back to the pool when the answer has been read."""
        self._connection, self._pool = connection, pool
        if self.over:  # there is no body
            self._finish()

    @property
    def over(self) -> bool:
        """Whether the end of the body has been seen."""
        return self._framing.over

    @property
    def holds(self) -> bool:
        """Whether there is more that the socket does not tell of: bytes at hand, a fault, or the end."""
        if self._first or self.closed or self._framing.fault is not None:
            return True
        return self._tls is not None and self._tls.pending() > 0

    def fileno(self) -> int:
        """Of the connection's socket; -1 when that has been closed."""
        return self._sock.fileno()

    def settimeout(self, seconds: float) -> None:
        """How long :meth:`read1` waits. With 0 it is :meth:`receive` that is to be called."""
        if self.closed:
            return
        if self._connection is not None:
            self._connection.patience = None
        if seconds:
            wait_at_most(self._sock, seconds)
        else:
            self._sock.settimeout(0)

    def read1(self, size: int = READ_SIZE, decode_content: bool = False) -> bytes:
        """Bytes of the body as soon as there are some; ``b""`` at its end.

        :param decode_content: must be false: what is encoded is passed on, or refused, as it is.
        :raises HTTPException: it broke off, or is not HTTP. :raises OSError: the connection was lost.
        """
        while not (self.closed or self.over):
            if data := self._take(self._receive, size):
                return data
        self._finish()
        return b""

    def receive(self) -> bytes | None:
        """Like :meth:`read1`, without waiting: ``None`` when nothing has come. Needs a timeout of 0."""
        framing = self._framing
        if not (self.closed or framing.over):
            try:
                data = self._take(self._sock.recv, PIECE)
            except (BlockingIOError, SSLWantReadError, SSLWantWriteError):
                # A renewal of keys may want to write; it finds room in the buffer, by the next read.
                return None
            if data or not framing.over:
                return data or None
        self._finish()
        return b""

    def _receive(self, size: int) -> bytes:
        return receive(self._sock, size)

    def _take(self, recv: Callable[[int], bytes], size: int) -> bytes:
        framing = self._framing
        if framing.fault is not None:
            raise framing.fault
        if self._first:
            data, self._first = self._first, b""
        else:
            data = recv(size)
        if not data:
            framing.end()
            return b""
        data = framing.feed(data)
        if framing.over:
            self._finish()
        elif not data and framing.fault is not None:
            raise framing.fault
        return data

    def _finish(self) -> None:
        """The body is over: the next call may have the connection, if it is good for one."""
        if self.closed:
            return
        self.closed = True
        connection, self._connection = self._connection, None
        if connection is not None:
            if self._first or not self._framing.reusable:
                connection.close()
            self._pool._put_conn(connection)

    def close(self) -> None:
        """Nothing more is wanted: the connection is closed, unless it went back already."""
        if self.closed:
            return
        self.closed = True
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        else:  # given up before it was lent
            with suppress(OSError):
                self._sock.close()


def read_response(connection: Any) -> UpstreamResponse:
    """Wait for the head of an answer, and for nothing more.

    :param connection: with the socket on which a request has been sent.
    :raises RemoteDisconnected: it was closed before a byte of an answer had come.
    :raises HTTPException: what came is no answer, or broke off. :raises OSError: the connection was lost
        before a byte of an answer had come.
    """
    sock, data, scanned, begun = connection.sock, bytearray(), 0, False
    for _ in range(MAX_INTERIM + 1):
        while (end := end_of_head(data, scanned)) < 0:
            scanned = len(data)
            try:
                received = receive(sock, READ_SIZE)
            except CLOSED as error:
                if not begun:
                    raise
                raise CutShort("reset in the middle of the head") from error
            if not received and begun:
                raise CutShort("closed in the middle of the head")
            if not received:
                raise RemoteDisconnected("closed without an answer")
            begun = True
            data += received
        head, data, scanned = read_head(data[:end]), data[end:], 0
        # 100 and 103 come before the answer; 101 would leave HTTP, which nobody asked for.
        if head.status >= 200 or head.status == 101:
            return UpstreamResponse(connection, head, bytes(data))
    raise MalformedResponse(f"more than {MAX_INTERIM} heads before that of the answer")
