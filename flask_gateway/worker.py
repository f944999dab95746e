"""gunicorn's threaded worker, without its two ways of standing still, and without its HTML.

As it is, the thread that accepts connections also closes them, and waits up to two seconds for each
peer to hang up first; and a thread waits for ever for the next byte of a request. Both are one class
away from being bounded. And what it refuses itself, because it is not HTTP, it refuses with a page for
browsers. The gateway runs under any other worker too, with those weaknesses.
"""

from __future__ import annotations

import logging
import os
import socket
from contextlib import suppress

import msgspec
from gunicorn import util
from gunicorn.workers import gthread

from .errors import CallerError

#: The longest wait for a caller's next bytes, or for it to take ours, seconds.
CALLER_SILENCE = 30.0
#: What a caller has sent and we have not read would reset the connection when it is closed, and take
#: the end of our answer with it. So much of it is thrown away first: reads, of bytes each.
LEFTOVER_READS, LEFTOVER_SIZE = 16, 65536


class Connection(gthread.TConn):  # type: ignore[misc]  # gunicorn ships no types
    """A caller's connection."""

    def init(self) -> None:
        """Called before every request, when the socket has just been made blocking."""
        super().init()
        self.sock.settimeout(CALLER_SILENCE)

    def close(self, graceful: bool = False) -> None:
        """Called on the accepting thread, so it waits for nobody."""
        sock: socket.socket = self.sock
        with suppress(OSError):
            sock.setblocking(False)
            if graceful:
                sock.shutdown(socket.SHUT_WR)
                for _ in range(LEFTOVER_READS):
                    if not sock.recv(LEFTOVER_SIZE):
                        break
        with suppress(OSError):
            sock.close()


class Worker(gthread.ThreadWorker):  # type: ignore[misc]
    """To be named as gunicorn's ``worker_class``."""

    def init_process(self) -> None:
        self.log.error_log.addFilter(_is_no_timeout)
        super().init_process()


def _is_no_timeout(record: logging.LogRecord) -> bool:
    """A caller that fell silent is not worth a traceback in the log."""
    return not (record.exc_info and isinstance(record.exc_info[1], TimeoutError))


class NotHttp(CallerError):
    """The server could not read the request at all, so no view ever saw it."""

    code = "bad_request"


def write_error(sock: socket.socket, status: int, reason: str, message: str) -> None:
    """Answer what gunicorn refuses, in the envelope of all other refusals.

    :param message: gunicorn's, which may quote the caller.
    """
    error = NotHttp(f"{reason}: {message[:200]}" if message else f"{reason}.")
    body = msgspec.json.encode(error.envelope())
    head = (
        f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nx-request-id: {os.urandom(16).hex()}\r\n"
        f"x-gateway-error-origin: {error.origin}\r\n\r\n"
    )
    util.write_nonblock(sock, head.encode("ascii") + body)


# gunicorn takes both by their names in its own modules.
gthread.TConn = Connection
util.write_error = write_error
