"""Connects to the first of several addresses that answers (RFC 8305, "Happy Eyeballs").

An address whose packets get lost, such as one of a broken IPv6 network, costs a quarter of a second instead
of the whole connect timeout.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from ...model.errors import NO_DESCRIPTOR

#: How long to wait for an attempt before the next address is tried as well, seconds (RFC 8305, section 5).
DELAY = 0.25
#: The most attempts in flight. For a further one the oldest is closed.
MOST = 8

#: As ``socket.getaddrinfo`` returns it: family, kind, protocol, canonical name, address.
AddressInfo = tuple[Any, ...]


def interleaved(addresses: Sequence[AddressInfo]) -> list[AddressInfo]:
    """Alternate the address families; keep the resolver's order within each (RFC 8305, section 4)."""
    by_family: dict[int, list[AddressInfo]] = {}
    for info in addresses:
        by_family.setdefault(info[0], []).append(info)
    longest = max(map(len, by_family.values()), default=0)
    return [family[n] for n in range(longest) for family in by_family.values() if n < len(family)]


class Interrupt:
    """Ends a race from any thread (``deadlines.Cuttable``)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        return self._fd

    def cut(self) -> None:
        with self._lock:
            if self._fd >= 0:
                os.eventfd_write(self._fd, 1)

    def close(self) -> bool:
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1
        return True


class Race:
    """Tries the addresses of one name, several at a time. Belongs to one thread.

    :param addresses: the addresses, in the order in which they are tried.
    :param options: the arguments of ``setsockopt`` for each socket.
    :param until: when it must have ended, seconds of ``time.monotonic()``.
    """

    def __init__(
        self, addresses: Sequence[AddressInfo], options: Sequence[tuple[Any, ...]], until: float
    ) -> None:
        self._left = list(reversed(addresses))
        self._options = options
        self._until = until
        #: The attempts in flight by their descriptors, the oldest first.
        self._trying: dict[int, tuple[socket.socket, Any]] = {}
        self._failure: OSError = OSError("the name has no address")
        #: The address that has answered.
        self.answered: Any = None
        #: The addresses that were tried before it and have not answered.
        self.vain: list[Any] = []

    def run(self, interrupt: Interrupt) -> socket.socket:
        """Return the first connection, in non-blocking mode. All others are closed.

        :raises TimeoutError: no address answered in time. :raises InterruptedError: the race was interrupted.
        :raises OSError: every address failed.
        """
        try:
            while self._left or self._trying:
                if self._left:
                    self._begin_next()
                if self._trying and (won := self._wait(interrupt)):
                    return won
            raise self._failure
        finally:
            for sock, _ in self._trying.values():
                sock.close()

    def _begin_next(self) -> None:
        family, kind, protocol, _, address = self._left.pop()
        sock: socket.socket | None = None
        try:
            sock = socket.socket(family, kind, protocol)
            for option in self._options:
                sock.setsockopt(*option)
            sock.setblocking(False)
            code = sock.connect_ex(address)
            if code not in (0, errno.EINPROGRESS):
                raise OSError(code, os.strerror(code))
        except OSError as error:
            if sock is not None:
                sock.close()
            self._failed(error, address)
            return
        if len(self._trying) >= MOST:
            oldest, where = self._trying.pop(next(iter(self._trying)))
            oldest.close()
            self.vain.append(where)
        self._trying[sock.fileno()] = sock, address

    def _failed(self, error: OSError, address: Any) -> None:
        self.vain.append(address)
        if error.errno in NO_DESCRIPTOR and not self._trying:
            raise error  # no address is at fault, and the next attempt would fail as well
        self._failure = error

    def _wait(self, interrupt: Interrupt) -> socket.socket | None:
        """Wait until the next attempt is due or one has ended. Return the connection if one succeeded."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        poll = select.poll()
        poll.register(interrupt, select.POLLIN)
        for fd in self._trying:
            poll.register(fd, select.POLLOUT)
        ready = [fd for fd, _ in poll.poll(1000 * (min(left, DELAY) if self._left else left))]
        if interrupt.fileno() in ready:
            raise InterruptedError("interrupted")
        for fd in ready:
            sock, address = self._trying[fd]
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code == 0:
                self._won(fd)
                return sock
            del self._trying[fd]
            sock.close()
            self._failed(OSError(code, os.strerror(code)), address)
        return None

    def _won(self, fd: int) -> None:
        before = list(self._trying)[: list(self._trying).index(fd)]
        self.vain += [self._trying[info][1] for info in before]
        self.answered = self._trying.pop(fd)[1]


class Unanswering:
    """Remembers addresses that did not answer recently, so that other addresses of the name are tried first.

    Shared by all threads. Without it, each new connection would wait for the quarter of a second again.
    """

    #: How long an address is tried last, seconds; and how many are remembered.
    LASTS, MOST = 60.0, 256

    def __init__(self) -> None:
        self._until: dict[Any, float] = {}

    def last(self, addresses: Sequence[AddressInfo]) -> list[AddressInfo]:
        """Move the addresses that did not answer recently to the end."""
        if not self._until:
            return [*addresses]
        now = time.monotonic()
        return sorted(addresses, key=lambda info: self._until.get(info[4], 0.0) > now)

    def remember(self, answered: Any, vain: Sequence[Any]) -> None:
        """Remember that one address has answered, and that those tried before it have not."""
        if answered in self._until:
            with suppress(KeyError):
                del self._until[answered]
        if vain:
            if len(self._until) + len(vain) > self.MOST:
                self._until.clear()
            until = time.monotonic() + self.LASTS
            self._until.update((address, until) for address in vain)
