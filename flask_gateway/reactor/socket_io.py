"""What Python's sockets do in two calls to the system, done in one; and what waits for nothing, without
giving the interpreter away.

Each call gives the interpreter away, and on a busy machine waits to get it back, which costs more than what
is called. A socket with a timeout polls before it sends or receives; here it is first tried, and the kernel
keeps the time. What is short and never waits is asked of the C library, and the interpreter kept for those
few microseconds; whatever does not succeed so is left to Python's own way, which knows why. What the kernel
knows of a socket it tells without that, so that it need not be tried to no purpose.

TLS needs Python's own way: its records are not the socket's bytes.
"""

from __future__ import annotations

import ctypes
import select
import socket
import struct
import threading
from collections.abc import Callable
from ssl import SSLSocket

#: Do not wait, this once. Where there is no such flag, there is waiting.
AT_ONCE = int(getattr(socket, "MSG_DONTWAIT", 0))
#: Linux's ``SO_MEMINFO``, of which the first number is what waits to be read, in bytes of memory.
_MEMINFO = 55
#: Linux's ``TCP_INFO``, of which the first byte is the state.
_TCP_INFO: int = getattr(socket, "TCP_INFO", 11)
_ESTABLISHED = b"\x01"
_TIMEVAL = struct.Struct("@ll")
#: What is longer than this, bytes, takes long enough for others to have the interpreter meanwhile.
SHORT = 16384
#: A peer that is gone is an error, and no signal.
_QUIETLY = AT_ONCE | int(getattr(socket, "MSG_NOSIGNAL", 0))


def _keeping(name: str, *arguments: type) -> Callable[..., int] | None:
    """A function of the C library that is called with the interpreter kept; ``None`` where there is none, or
    where there is no way to have it wait for nothing."""
    try:
        prototype = ctypes.PYFUNCTYPE(ctypes.c_ssize_t, ctypes.c_int, *arguments)
        return prototype((name, ctypes.PyDLL(None))) if AT_ONCE else None
    except (AttributeError, TypeError, OSError):
        return None


_send = _keeping("send", ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int)
_recv = _keeping("recv", ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_close = _keeping("close")


class _Room(threading.local):
    """Where one thread receives to."""

    def __init__(self) -> None:
        self.buffer = ctypes.create_string_buffer(SHORT)
        self.view = memoryview(self.buffer).cast("B")


_room = _Room()


def send_at_once(sock: socket.socket, data: bytes) -> int:
    """Send as much as there is room for, and tell how much that was. Not for TLS.

    :raises OSError: the other side is gone.
    """
    if _send is not None and len(data) <= SHORT:
        sent = _send(sock.fileno(), data, len(data), _QUIETLY)
        if sent >= 0:
            return sent
    try:
        return sock.send(data, AT_ONCE)
    except BlockingIOError:
        return 0


def close_at_once(sock: socket.socket) -> None:
    """Close it. What has not been sent is the kernel's. Not for one that is to linger."""
    if _close is None or isinstance(sock, SSLSocket):
        sock.close()
    elif (fd := sock.detach()) >= 0:
        _close(fd)


def send_all(sock: socket.socket, data: bytes, seconds: float | None = None) -> None:
    """Send all of it. Mostly there is room for it, and nothing to wait for.

    :param seconds: how long the rest may take; ``None``: as long as somebody who can cut it lets it.
    :raises TimeoutError: it took longer. :raises OSError: the other side is gone.
    """
    sent = 0
    if not isinstance(sock, SSLSocket):
        sent = send_at_once(sock, data)
    if sent < len(data):
        if sock.gettimeout() != seconds:
            sock.settimeout(seconds)
        sock.sendall(memoryview(data)[sent:])


def receive_at_once(sock: socket.socket, size: int) -> bytes | None:
    """What has come; ``None`` when nothing has. Not for TLS; and one with a timeout waits all the same.

    :raises OSError: the other side is gone.
    """
    if _recv is not None and size <= SHORT:
        room = _room
        came = _recv(sock.fileno(), room.buffer, size, AT_ONCE)
        if came >= 0:
            return room.view[:came].tobytes()
    try:
        return sock.recv(size, AT_ONCE)
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
