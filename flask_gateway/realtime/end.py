"""One end of a relayed session: its socket, what it has not read yet, and what is polled."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable

from ..reactor.fair_poller import FairPoller

#: Unsent bytes at which the other end is not read any more.
BUFFER = 256 * 1024
IN, OUT = getattr(select, "EPOLLIN", 0), getattr(select, "EPOLLOUT", 0)

#: Sends what fits without blocking, and returns how much; 0 if nothing does.
Send = Callable[[bytes | bytearray], int]


def _ignore(events: int) -> None:
    """Replaces ``ready`` after the end."""


class End:
    """The caller or the upstream. The reactor's thread owns it.

    :param send: raises ``OSError`` if the end is gone; then the bytes are lost, and reading tells why.
    :param ready: called with the events of the descriptor.
    """

    __slots__ = ("_fd", "_mask", "_poller", "_ready", "_send", "moved", "unsent")

    def __init__(self, poller: FairPoller, fd: int, send: Send, ready: Callable[[int], None]) -> None:
        self._poller, self._fd, self._send, self._ready = poller, fd, send, ready
        self._mask = -1
        self.unsent = bytearray()
        #: When unsent bytes last moved, seconds of ``time.monotonic()``.
        self.moved = 0.0

    @property
    def is_full(self) -> bool:
        return len(self.unsent) > BUFFER

    def write(self, data: bytes) -> None:
        """Send the bytes, or keep those that do not fit."""
        if self.unsent:
            self.unsent += data
            return
        self.moved = time.monotonic()
        try:
            sent = self._send(data)
        except OSError:
            return
        if sent < len(data):
            self.unsent += memoryview(data)[sent:]

    def flush(self) -> None:
        """Send more of the bytes that were kept."""
        try:
            sent = self._send(self.unsent)
        except OSError:
            sent = len(self.unsent)
        del self.unsent[:sent]
        self.moved = time.monotonic()

    def poll(self, *, reads: bool) -> None:
        """Poll for room, and for bytes if they are wanted. epoll always reports a lost connection."""
        mask = (IN if reads else 0) | (OUT if self.unsent else 0)
        if mask != self._mask:
            self._mask = mask
            self._poller.wait_for(self._fd, mask, self._ready)

    def forget(self) -> None:
        """Stop polling. Call it before the descriptor is closed."""
        if self._mask >= 0:
            self._poller.forget(self._fd)
            self._mask = -1
        self._ready = _ignore  # no reference cycle remains


def sender(sock: socket.socket) -> Send:
    """Return what sends to a non-blocking socket."""

    def send(data: bytes | bytearray) -> int:
        try:
            return sock.send(data)
        except BlockingIOError:
            return 0

    return send


def keep_alive(sock: socket.socket) -> None:
    """Let the kernel find out within a minute that the peer of an idle session is gone."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name) and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
