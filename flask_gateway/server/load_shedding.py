"""Callers who do not get as far as a view: such as would leave no room for others, and their records.

A head that does not go on holds the thread that reads it. And where there is no descriptor left, accepting
fails: gunicorn's worker ends then, and every stream with it.
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

#: For how long a head may be on its way when threads are wanted, seconds.
PATIENCE = 1.0
#: Where in Linux's ``tcp_info`` stands how many connections wait at a listener (``tcpi_unacked``).
_QUEUE_AT = 24


def queue_of(listener: socket.socket) -> int:
    """How many connections wait to be taken; 1 where that cannot be known."""
    try:
        told = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _QUEUE_AT + 4)
    except (OSError, AttributeError):
        return 1
    return max(1, int(struct.unpack_from("I", told, _QUEUE_AT)[0]))


class PendingHeads:
    """The connections whose request is still being read. Its methods may be called by any thread."""

    def __init__(self) -> None:
        self._since: dict[ClientConnection, float] = {}

    def add(self, conn: ClientConnection, now: float) -> None:
        self._since[conn] = now

    def remove(self, conn: ClientConnection) -> None:
        self._since.pop(conn, None)

    def cut(self, now: float) -> int:
        """To be called when threads are wanted: end those that have had their time. How many they were."""
        late = [conn for conn, since in list(self._since.items()) if now - since > PATIENCE]
        for conn in late:
            self.remove(conn)
            with suppress(OSError):
                conn.sock.shutdown(socket.SHUT_RD)  # to whoever reads, it looks as if the caller had left
        return len(late)


class ReserveDescriptor:
    """A descriptor that is kept back, so that a caller can be told that there are no others."""

    def __init__(self) -> None:
        self._descriptor: int | None = None
        self._keep()

    def refuse(self, listener: socket.socket, answer: bytes) -> bool:
        """Take the next connection, answer and hang up, without waiting. Whether that was possible.

        :param answer: head and body; empty: only hang up.
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
        with suppress(OSError):  # another thread was faster
            self._descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)


def turn_away(conn: ClientConnection, error: GatewayError) -> str:
    """Answer without reading the request and without waiting. Returns the id of the request."""
    request_id = os.urandom(16).hex()
    if not is_tls(conn.cfg):
        conn.sock.setblocking(False)
        with suppress(OSError):
            conn.sock.send(refusal(error, "503 Service Unavailable", request_id))
    return request_id


def record_unparsed(error: GatewayError, status: int, request_id: str) -> RequestRecord:
    """What is known of a request that no view has seen: next to nothing."""
    ids = Ids(request=request_id, trace=request_id, traceparent="")
    return RequestRecord(
        ids=ids, key=None, method=None, path=None, status=status, code=error.code, seconds=0.0
    )
