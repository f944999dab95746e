"""Detects that a socket's peer has hung up, without reading from the socket."""

from __future__ import annotations

import os
import select
import socket
from contextlib import suppress
from typing import Protocol

#: Without epoll: how often each watched socket is polled, seconds.
SWEEP = 0.25

#: The peer has stopped sending, or the connection is gone. poll and epoll use the same values.
_RDHUP: int = getattr(select, "POLLRDHUP", 0)
_GONE = _RDHUP | select.POLLHUP | select.POLLERR


class Hangups(Protocol):
    """A set of watched sockets, with a wait that reports which of them may have hung up."""

    def add(self, fd: int) -> None:
        """Watch this descriptor. Raises ``OSError`` or ``ValueError`` when that is impossible."""
        ...

    def remove(self, fd: int) -> None: ...

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when there are hang-ups; -1 if the platform has none."""
        ...

    def wait(self, seconds: float) -> list[int]:
        """Sleep until woken. Return the sockets that may have hung up; :func:`is_gone` makes sure."""
        ...

    def wake(self) -> None: ...

    def close(self) -> None: ...


def open_hangups() -> Hangups:
    return EpollHangups() if hasattr(select, "epoll") else PolledHangups()


def is_gone(fd: int) -> bool:
    """Return whether the peer of this socket has hung up."""
    poll = select.poll()
    poll.register(fd, _RDHUP or select.POLLIN)
    events = poll.poll(0)
    if not events or events[0][1] & select.POLLNVAL:
        return False
    if events[0][1] & _GONE or _RDHUP:
        return bool(events[0][1] & _GONE)
    try:
        with socket.socket(fileno=os.dup(fd)) as duplicate:
            return not duplicate.recv(1, socket.MSG_PEEK)
    except ConnectionError:
        return True
    except OSError:
        return False


#: epoll reports each socket once, and does not report unread data.
_ONCE = _RDHUP | getattr(select, "EPOLLONESHOT", 0)
#: The most hang-ups that one wait returns. Handling a hang-up takes several system calls.
_MAX_EVENTS = 8


class EpollHangups:
    """Linux: epoll reports hang-ups."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._wakeup = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wakeup, select.EPOLLIN | select.EPOLLET)

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
        return [fd for fd, _ in self._epoll.poll(seconds, _MAX_EVENTS) if fd != self._wakeup]

    def wake(self) -> None:
        os.eventfd_write(self._wakeup, 1)

    def close(self) -> None:
        self._epoll.close()
        os.close(self._wakeup)


class PolledHangups:
    """Without epoll: every socket is polled several times a second."""

    def __init__(self) -> None:
        self._fds: set[int] = set()
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._poll = select.poll()
        self._poll.register(self._wake_reader, select.POLLIN)

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
            self._wake_reader.recv(4096)
        return list(self._fds)

    def wake(self) -> None:
        with suppress(BlockingIOError):
            self._wake_writer.send(b"\0")

    def close(self) -> None:
        self._wake_reader.close()
        self._wake_writer.close()
