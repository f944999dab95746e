"""Sheds connections that never become a request: slow request heads over TLS, and no descriptor for them.

Over TLS a slow head holds the thread that reads it; ``parked_heads.py`` has the others. Without a free
descriptor ``accept`` fails: gunicorn's own worker then ends, and all its streams with it.
"""

from __future__ import annotations

import os
import socket
import struct
from contextlib import suppress

from ..model.call import Ids
from ..model.errors import GatewayError
from ..telemetry.request_record import RequestRecord
from .client_connection import ClientConnection, is_tls, refusal

#: How long a request head may take when threads are scarce, seconds.
HEAD_TIMEOUT = 1.0
#: The offset of ``tcpi_unacked`` in Linux's ``tcp_info``: for a listener, the connections that wait.
_QUEUE_AT = 24


def queue_of(listener: socket.socket) -> int:
    """How many connections wait to be accepted; 1 if the system does not say."""
    try:
        info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _QUEUE_AT + 4)
    except (OSError, AttributeError):
        return 1
    return max(1, int(struct.unpack_from("I", info, _QUEUE_AT)[0]))


class PendingHeads:
    """The TLS connections whose request is still being read. Its methods may be called by any thread."""

    def __init__(self) -> None:
        self._since: dict[ClientConnection, float] = {}

    def add(self, conn: ClientConnection, now: float) -> None:
        self._since[conn] = now

    def remove(self, conn: ClientConnection) -> None:
        self._since.pop(conn, None)

    def cut(self, now: float) -> int:
        """Cut connections with a late head. Called when threads are scarce. Returns how many."""
        late = [conn for conn, since in list(self._since.items()) if now - since > HEAD_TIMEOUT]
        for conn in late:
            self.remove(conn)
            with suppress(OSError):
                conn.sock.shutdown(
                    socket.SHUT_RD
                )  # the reading thread sees an end, as if the caller had left
        return len(late)


class ReserveDescriptor:
    """A descriptor kept in reserve, to accept and refuse a caller when no other is left."""

    def __init__(self) -> None:
        self._descriptor: int | None = None
        self._keep()

    def refuse(self, listener: socket.socket, answer: bytes) -> bool:
        """Accept the next connection, answer and close it, without blocking. Returns whether that worked.

        :param answer: head and body; if empty, only close the connection.
        """
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        try:
            sock, _ = listener.accept()
        except OSError:
            return False
        else:
            sock.setblocking(False)
            with suppress(OSError):
                sock.send(answer)
            ClientConnection(None, sock, None, None).close(graceful=True)
            return True
        finally:
            self._keep()

    def _keep(self) -> None:
        with suppress(OSError):  # another thread took the last descriptor
            self._descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)


def turn_away(conn: ClientConnection, error: GatewayError) -> str:
    """Answer without reading the request and without blocking. Returns the request id."""
    request_id = os.urandom(16).hex()
    if not is_tls(conn.cfg):
        conn.sock.setblocking(False)
        with suppress(OSError):
            conn.sock.send(refusal(error, "503 Service Unavailable", request_id))
    return request_id


def record_unparsed(error: GatewayError, status: int, request_id: str) -> RequestRecord:
    """Make the record of a request that no view has seen: only its ids, status and code are known."""
    ids = Ids(request=request_id, trace=request_id, traceparent="")
    return RequestRecord(
        ids=ids, key=None, method=None, path=None, status=status, code=error.code, seconds=0.0
    )
