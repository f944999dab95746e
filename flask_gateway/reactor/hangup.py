"""How one learns, without reading from it, that a socket's peer has hung up."""

from __future__ import annotations

import os
import select
import socket
from contextlib import suppress
from typing import Protocol

#: Where the kernel cannot be asked to tell: how often it is asked whether a peer is still there, seconds.
SWEEP = 0.25

#: The peer will send no more, is gone, or never was: in poll's and in epoll's words, which are the same.
_RDHUP: int = getattr(select, "POLLRDHUP", 0)
_GONE = _RDHUP | select.POLLHUP | select.POLLERR


class Hangups(Protocol):
    """Those that are watched, and the thread that waits for them."""

    def add(self, fd: int) -> None:
        """Have this one watched. ``OSError`` or ``ValueError`` when it cannot be."""
        ...

    def remove(self, fd: int) -> None: ...

    def fileno(self) -> int:
        """What is readable when there is something to be told; -1 where there is no such descriptor."""
        ...

    def wait(self, seconds: float) -> list[int]:
        """Sleep until woken; those that may have been hung up on, see :func:`is_gone`."""
        ...

    def wake(self) -> None: ...

    def close(self) -> None: ...


def open_hangups() -> Hangups:
    return EpollHangups() if hasattr(select, "epoll") else PolledHangups()


def is_gone(fd: int) -> bool:
    """Whether the peer of this socket has hung up."""
    poll = select.poll()
    poll.register(fd, _RDHUP or select.POLLIN)
    events = poll.poll(0)
    if not events or events[0][1] & select.POLLNVAL:
        return False
    if events[0][1] & _GONE or _RDHUP:
        return bool(events[0][1] & _GONE)
    try:
        with socket.socket(fileno=os.dup(fd)) as twin:
            return not twin.recv(1, socket.MSG_PEEK)
    except ConnectionError:
        return True
    except OSError:
        return False


#: Nothing that merely waits to be read is told of, and each socket is told of once.
_ONCE = _RDHUP | getattr(select, "EPOLLONESHOT", 0)
#: The most that are told of at once. What is done about a hang-up takes several calls to the kernel.
_MOST = 8


class EpollHangups:
    """Linux: the kernel tells."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._bell, select.EPOLLIN | select.EPOLLET)

    def add(self, fd: int) -> None:
        try:
            self._epoll.register(fd, _ONCE)
        except FileExistsError:
            self._epoll.modify(fd, _ONCE)

    def remove(self, fd: int) -> None:
        with suppress(OSError, ValueError):
            self._epoll.unregister(fd)

    def fileno(self) -> int:
        return self._epoll.fileno()

    def wait(self, seconds: float) -> list[int]:
        return [fd for fd, _ in self._epoll.poll(seconds, _MOST) if fd != self._bell]

    def wake(self) -> None:
        os.eventfd_write(self._bell, 1)

    def close(self) -> None:
        self._epoll.close()
        os.close(self._bell)


class PolledHangups:
    """Elsewhere: every socket is asked about several times a second."""

    def __init__(self) -> None:
        self._fds: set[int] = set()
        self._bell, self._rope = socket.socketpair()
        self._bell.setblocking(False)
        self._rope.setblocking(False)
        self._poll = select.poll()
        self._poll.register(self._bell, select.POLLIN)

    def add(self, fd: int) -> None:
        if fd < 0:
            raise ValueError(fd)
        self._fds.add(fd)
        self.wake()

    def remove(self, fd: int) -> None:
        self._fds.discard(fd)

    def fileno(self) -> int:
        return -1

    def wait(self, seconds: float) -> list[int]:
        self._poll.poll(1000 * (min(seconds, SWEEP) if self._fds else seconds))
        with suppress(BlockingIOError):
            self._bell.recv(4096)
        return list(self._fds)

    def wake(self) -> None:
        with suppress(BlockingIOError):
            self._rope.send(b"\0")

    def close(self) -> None:
        self._bell.close()
        self._rope.close()
