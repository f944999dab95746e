"""Sends and receives with fewer system calls, and keeps the GIL for calls that cannot block.

Each call of Python's socket methods releases the GIL. On a busy machine, getting the GIL back costs more than
the system call. A Python socket with a timeout also polls before it sends or receives. Here the operation is
tried first, and the kernel enforces the timeout. Short calls that cannot block go to the C library, which
keeps the GIL for those few microseconds. On failure we call Python's socket method, which raises the right
exception. ``SO_MEMINFO`` and ``TCP_INFO`` tell whether a read can succeed before we try.

TLS sockets use Python's methods: TLS records are not the socket's bytes.
"""

from __future__ import annotations

import ctypes
import platform
import select
import socket
import struct
import threading
from collections.abc import Callable
from ssl import SSLSocket

#: Makes one call non-blocking. On a platform without the flag, calls block.
AT_ONCE = int(getattr(socket, "MSG_DONTWAIT", 0))
#: Linux's ``SO_MEMINFO``: its first number is the memory of unread data, bytes.
_MEMINFO = 55
#: Linux's ``TCP_INFO``: its first byte is the connection's state.
_TCP_INFO: int = getattr(socket, "TCP_INFO", 11)
_ESTABLISHED = b"\x01"
_TIMEVAL = struct.Struct("@ll")
#: Longer data, bytes, takes long enough that the GIL should be released meanwhile.
SHORT = 16384
#: A lost peer raises an error and sends no SIGPIPE.
_QUIETLY = AT_ONCE | int(getattr(socket, "MSG_NOSIGNAL", 0))


def _without_gil_release(name: str, *arguments: type) -> Callable[..., int] | None:
    """Return a function of the C library that keeps the GIL; ``None`` if the library does not have it, or if
    the platform has no non-blocking flag."""
    try:
        prototype = ctypes.PYFUNCTYPE(ctypes.c_ssize_t, ctypes.c_int, *arguments)
        return prototype((name, ctypes.PyDLL(None))) if AT_ONCE else None
    except (AttributeError, TypeError, OSError):
        return None


_send = _without_gil_release("send", ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int)
_recv = _without_gil_release("recv", ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_close = _without_gil_release("close")
_epoll_ctl = _without_gil_release("epoll_ctl", ctypes.c_int, ctypes.c_int, ctypes.c_char_p)
_EPOLL_CTL_MOD = 3
#: ``struct epoll_event``, which is packed on x86-64 alone (epoll_ctl(2)).
_EPOLL_EVENT = struct.Struct("=Iq" if platform.machine() == "x86_64" else "@Iq")


class _ReceiveBuffer(threading.local):
    """The receive buffer of one thread."""

    def __init__(self) -> None:
        self.buffer = ctypes.create_string_buffer(SHORT)
        self.view = memoryview(self.buffer).cast("B")


_receive_buffer = _ReceiveBuffer()


def send_at_once(sock: socket.socket, data: bytes) -> int:
    """Send as much as the kernel's buffer takes, without blocking. Return the number of bytes. Not for TLS.

    :raises OSError: the peer is gone.
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
    """Close the socket; the kernel still sends what is buffered. Not for a socket with SO_LINGER."""
    if _close is None or isinstance(sock, SSLSocket):
        sock.close()
    elif (fd := sock.detach()) >= 0:
        _close(fd)


def modify_at_once(epoll: int, fd: int, events: int) -> bool:
    """Change the events of a descriptor in an epoll set. Returns whether that worked.

    :param epoll: the set's own descriptor.
    """
    return _epoll_ctl is not None and not _epoll_ctl(epoll, _EPOLL_CTL_MOD, fd, _EPOLL_EVENT.pack(events, fd))


def send_all(sock: socket.socket, data: bytes, seconds: float | None = None) -> None:
    """Send all data. The kernel's buffer usually takes it at once.

    :param seconds: how long the rest may take; ``None``: no limit, another thread can cut the connection.
    :raises TimeoutError: it took longer. :raises OSError: the peer is gone.
    """
    sent = 0
    if not isinstance(sock, SSLSocket):
        sent = send_at_once(sock, data)
    if sent < len(data):
        if sock.gettimeout() != seconds:
            sock.settimeout(seconds)
        sock.sendall(memoryview(data)[sent:])


def receive_at_once(sock: socket.socket, size: int) -> bytes | None:
    """Return the data that has arrived; ``None`` if none has. Not for TLS; a socket with a timeout blocks.

    :raises OSError: the peer is gone.
    """
    if _recv is not None and size <= SHORT:
        target = _receive_buffer
        received = _recv(sock.fileno(), target.buffer, size, AT_ONCE)
        if received >= 0:
            return target.view[:received].tobytes()
    try:
        return sock.recv(size, AT_ONCE)
    except BlockingIOError:
        return None


def wait_at_most(sock: socket.socket, seconds: float) -> None:
    """Set how long :func:`receive` waits from now on; more than 0."""
    if isinstance(sock, SSLSocket):
        if sock.gettimeout() != seconds:
            sock.settimeout(seconds)
        return
    whole = int(seconds)
    rest = max(int((seconds - whole) * 1e6), 0 if whole else 1)  # a zero would mean no timeout
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL.pack(whole, rest))
    if sock.gettimeout() is not None:
        sock.settimeout(None)


def receive(sock: socket.socket, size: int) -> bytes:
    """Return some bytes as soon as there are any; ``b""`` at the end.

    :raises TimeoutError: no bytes arrived within the time that :func:`wait_at_most` set.
    """
    try:
        return sock.recv(size)
    except BlockingIOError:
        raise TimeoutError("nothing came in time") from None


def is_readable(fd: int, seconds: float = 0.0) -> bool:
    """Return whether data, or the end of the connection, can be read within so many seconds."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def has_unread(sock: socket.socket) -> bool:
    """Return whether unread bytes, or the peer's close, may be waiting."""
    try:
        return any(sock.getsockopt(socket.SOL_SOCKET, _MEMINFO, 4))
    except OSError:
        return True


def is_quiet(sock: socket.socket) -> bool:
    """Return whether the connection is established and has no unread data; ``False`` if that is unknown."""
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 1) == _ESTABLISHED and not has_unread(sock)
    except OSError:
        return False
