"""What Python's sockets do in two calls to the system, done in one.

Each call gives the interpreter away, and on a busy machine waits to get it back. A socket with a timeout
polls before it sends or receives; here it is first tried, and the kernel keeps the time. What the kernel
knows of a socket it tells without that, so that it need not be tried to no purpose.

TLS needs Python's own way: its records are not the socket's bytes.
"""

from __future__ import annotations

import select
import socket
import struct
from contextlib import suppress
from ssl import SSLSocket

#: Do not wait, this once. Where there is no such flag, there is waiting.
_AT_ONCE: int = getattr(socket, "MSG_DONTWAIT", 0)
#: Linux's ``SO_MEMINFO``, of which the first number is what waits to be read, in bytes of memory.
_MEMINFO = 55
#: Linux's ``TCP_INFO``, of which the first byte is the state.
_TCP_INFO: int = getattr(socket, "TCP_INFO", 11)
_ESTABLISHED = b"\x01"
_TIMEVAL = struct.Struct("@ll")


def send_all(sock: socket.socket, data: bytes, seconds: float | None = None) -> None:
    """Send all of it. Mostly there is room for it, and nothing to wait for.

    :param seconds: how long the rest may take; ``None``: as long as somebody who can cut it lets it.
    :raises TimeoutError: it took longer. :raises OSError: the other side is gone.
    """
    sent = 0
    if not isinstance(sock, SSLSocket):
        with suppress(BlockingIOError):
            sent = sock.send(data, _AT_ONCE)
    if sent < len(data):
        if sock.gettimeout() != seconds:
            sock.settimeout(seconds)
        sock.sendall(memoryview(data)[sent:])


def receive_at_once(sock: socket.socket, size: int) -> bytes | None:
    """What has come; ``None`` when nothing has. Not for TLS; and one with a timeout waits all the same."""
    try:
        return sock.recv(size, _AT_ONCE)
    except BlockingIOError:
        return None


def wait_at_most(sock: socket.socket, seconds: float) -> None:
    """How long :func:`receive` waits from now on; more than 0."""
    if isinstance(sock, SSLSocket):
        if sock.gettimeout() != seconds:
            sock.settimeout(seconds)
        return
    whole = int(seconds)
    rest = max(int((seconds - whole) * 1e6), 0 if whole else 1)  # nothing at all would be for ever
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL.pack(whole, rest))
    if sock.gettimeout() is not None:
        sock.settimeout(None)


def receive(sock: socket.socket, size: int) -> bytes:
    """Some bytes as soon as there are any; ``b""`` at the end.

    :raises TimeoutError: there were none for as long as :func:`wait_at_most` said.
    """
    try:
        return sock.recv(size)
    except BlockingIOError:
        raise TimeoutError("nothing came in time") from None


def is_readable(fd: int, seconds: float = 0.0) -> bool:
    """Whether there is something to read, or an end to be noticed, within so many seconds."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def has_unread(sock: socket.socket) -> bool:
    """Whether bytes, or the other side's goodbye, may wait to be read."""
    try:
        return any(sock.getsockopt(socket.SOL_SOCKET, _MEMINFO, 4))
    except OSError:
        return True


def is_quiet(sock: socket.socket) -> bool:
    """Whether the connection stands and nothing has come on it. ``False`` where that cannot be told so."""
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 1) == _ESTABLISHED and not has_unread(sock)
    except OSError:
        return False
