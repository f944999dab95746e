"""Connects to upstreams and sends requests. One thread uses a connection; any thread can cut it.

The classes are urllib3's, with four changes. A connection knows whether it was idle in the pool before. One
timeout covers connecting to all addresses of a name, and a dead address does not delay it
(``happy_eyeballs.py``). While a connection carries an attempt, the attempt holds a :class:`CutLease` of it.
It writes requests and reads answers itself (``response.py``): that is faster than http.client, and another
thread than the sender can go on reading.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import weakref
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from itertools import chain
from typing import Any, ClassVar

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from ...model.errors import NO_DESCRIPTOR
from ...model.upload import LongBody
from ...reactor.socket_io import is_quiet, send_all, wait_at_most
from .deadlines import UpstreamAttempt
from .egress_filter import allowed
from .happy_eyeballs import AddressInfo, Interrupt, Race, Unanswering, interleaved
from .response import UpstreamResponse, read_response

#: A body up to this size, bytes, is sent together with its head. To copy a longer one costs more than a
#: second system call.
ONE_SEND = 128 * 1024
#: Shared by all connections of this process.
UNANSWERING = Unanswering()


class CutHandle:
    """A second descriptor of a connection's socket, by which any thread can shut it down.

    Only the reader may use the socket object itself. Its ``shutdown`` would drop the reader's SSL state, and
    its descriptor may be closed and reused at any time.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._fd = os.dup(sock.fileno())
        self._lock = threading.Lock()
        self._holder: CutLease | None = None
        self._cut = False

    def lend(self) -> CutLease:
        """Return a lease for the attempt that has the connection now. The previous lease ends."""
        hold = CutLease(self)
        with self._lock:
            self._holder = hold
        return hold

    def cut(self, hold: CutLease) -> None:
        with self._lock:
            if self._holder is hold and self._fd >= 0:
                self._cut = True
                with suppress(OSError):
                    twin = socket.socket(fileno=self._fd)  # no further descriptor: there may be none left
                    try:
                        twin.shutdown(socket.SHUT_RDWR)
                    finally:
                        twin.detach()

    def take_back(self, hold: CutLease | None) -> bool:
        """End this lease, or with ``None`` any lease. Return whether the connection was not cut."""
        with self._lock:
            if hold is None or self._holder is hold:
                self._holder = None
            return not self._cut

    def close(self) -> None:
        with self._lock:
            self._holder = None
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1


class CutLease:
    """The right of one attempt to cut a connection (``deadlines.Cuttable``)."""

    __slots__ = ("_line",)

    def __init__(self, line: CutHandle) -> None:
        self._line = line

    def cut(self) -> None:
        self._line.cut(self)

    def close(self) -> bool:
        return self._line.take_back(self)


class _Sending(threading.local):
    """The attempt that this thread is about to send. The connection that urllib3 chooses looks it up here."""

    #: Weak: the thread outlives the call, and must not keep the call's prompt in memory.
    _exchange: weakref.ref[UpstreamAttempt]
    #: Whether the connection must be new.
    fresh = False
    #: Whether the connection came from the pool.
    reused = False

    @property
    def exchange(self) -> UpstreamAttempt:
        exchange = self._exchange()
        assert exchange is not None  # the caller of UpstreamClient.post, on this thread, owns it
        return exchange

    @exchange.setter
    def exchange(self, exchange: UpstreamAttempt) -> None:
        self._exchange = weakref.ref(exchange)


current_send = _Sending()


class _Interruptible:
    """Adds timeouts, cutting and requests in one send to urllib3's connections. A mixin."""

    sock: socket.socket | None
    timeout: Any  # a number, here
    _line: CutHandle | None = None
    _used = False
    #: When it was put into the pool, seconds of ``time.monotonic()``.
    idle_since = 0.0
    #: The timeout of its socket, seconds; ``None``: unknown, so it has to be set.
    patience: float | None = None

    def connect(self) -> None:
        self._used = False
        self.patience = None
        current_send.exchange.connecting()
        self.timeout = current_send.exchange.patience
        super().connect()  # type: ignore[misc]

    def _new_conn(self) -> socket.socket:
        """Connect within one timeout for all addresses. urllib3's own method has one for each address."""
        return self._open(self._dns_host, self.port, time.monotonic() + self.timeout)  # type: ignore[attr-defined]

    def _open(self, host: str, port: int, until: float) -> socket.socket:
        """:param until: when it must be connected, seconds of ``time.monotonic()``."""
        try:
            addresses = allowed(host, socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (socket.gaierror, UnicodeError) as error:
            raise NameResolutionError(host, self, error) from error  # type: ignore[arg-type]
        try:
            if len(addresses) == 1:
                family, kind, protocol, _, address = addresses[0]
                return self._connected(socket.socket(family, kind, protocol), address, until)
            return self._first_to_answer(addresses, until)
        except TimeoutError as failure:
            raise ConnectTimeoutError(self, "timed out") from failure
        except OSError as failure:
            if failure.errno in NO_DESCRIPTOR:
                raise  # not the upstream's fault
            raise NewConnectionError(self, f"failed to connect: {failure}") from failure  # type: ignore[arg-type]

    def _first_to_answer(self, addresses: Sequence[AddressInfo], until: float) -> socket.socket:
        exchange, interrupt = current_send.exchange, Interrupt()
        exchange.hold(interrupt)  # the attempt also closes it
        race = Race(UNANSWERING.last(interleaved(addresses)), self.socket_options or (), until)  # type: ignore[attr-defined]
        try:
            sock = race.run(interrupt)
        except InterruptedError:
            exchange.check()
            raise
        UNANSWERING.remember(race.answered, race.vain)
        try:
            sock.settimeout(max(until - time.monotonic(), 0.001))
            self._hold(CutHandle(sock), exchange)
        except BaseException:
            self._drop_line()
            sock.close()
            raise
        return sock

    def _connected(self, sock: socket.socket, address: Any, until: float) -> socket.socket:
        try:
            for option in self.socket_options or ():  # type: ignore[attr-defined]
                sock.setsockopt(*option)
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            sock.settimeout(left)
            self._hold(CutHandle(sock), current_send.exchange)
            sock.connect(address)
        except BaseException:
            self._drop_line()
            sock.close()
            raise
        return sock

    @property
    def is_connected(self) -> bool:
        """Whether it can carry a request: the upstream has not closed it, and has sent no stray bytes."""
        sock = self.sock
        return sock is not None and (is_quiet(sock) or bool(super().is_connected))  # type: ignore[misc]

    def _hold(self, line: CutHandle, exchange: UpstreamAttempt) -> None:
        self._line = line
        exchange.hold(line.lend())
        exchange.check()

    def request(
        self, method: str, url: str, body: bytes | LongBody = b"", headers: Any = None, **_: Any
    ) -> None:
        """Send head and body in one system call. http.client uses two and builds the head line by line."""
        exchange = current_send.exchange
        if current_send.fresh and self._used:
            self.close()
        current_send.reused = reused = self._used and self.sock is not None
        if self.sock is None:
            self.connect()
        elif reused:
            assert self._line is not None
            self._hold(self._line, exchange)
        exchange.connected()
        sock = self.sock
        assert sock is not None
        # The reactor fires the timeouts exactly. This one is for silence only.
        self._wait_at_most(exchange.silence_before)
        head = self._head(method, url, headers)
        self._used = True
        try:
            for part in _parts(head, body):
                send_all(sock, part, sock.gettimeout())
        except (BrokenPipeError, ConnectionResetError):
            return  # the upstream may have answered before it closed

    @cached_property
    def _host_field(self) -> str:
        host: str = self.host  # type: ignore[attr-defined]
        port: int = self.port  # type: ignore[attr-defined]
        host = f"[{host}]" if ":" in host else host
        return f"Host: {host}" if port == self.default_port else f"Host: {host}:{port}"  # type: ignore[attr-defined]

    def _head(self, method: str, url: str, headers: Mapping[str, str]) -> bytes:
        fields = [f"{method} {url} HTTP/1.1", self._host_field, *map(": ".join, headers.items())]
        head = "\r\n".join(fields)
        lines = len(fields) - 1
        if head.count("\n") != lines or head.count("\r") != lines or "\0" in head:
            raise ValueError("a header with a line end in it")
        return head.encode("latin-1") + b"\r\n\r\n"

    def getresponse(self) -> UpstreamResponse:
        response = read_response(self)
        self._wait_at_most(current_send.exchange.silence_within)
        return response

    def _wait_at_most(self, seconds: float) -> None:
        """Set the socket's timeout if it differs. It seldom does, and setting it takes a system call."""
        if self.patience != seconds:
            assert self.sock is not None
            wait_at_most(self.sock, seconds)
            self.patience = seconds

    def let_go(self) -> None:
        """End its lease before it goes to the pool. A connection that was cut is closed."""
        if self._line is not None and not self._line.take_back(None):
            self.close()

    def close(self) -> None:
        self._drop_line()
        super().close()  # type: ignore[misc]

    def _drop_line(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.close()


def _parts(head: bytes, body: bytes | LongBody) -> Iterable[bytes]:
    """The pieces of the request, each sent at once, in order."""
    if isinstance(body, bytes):
        return (head + body,) if len(body) <= ONE_SEND else (head, body)
    return chain((head,), body.pieces())


class UpstreamConnection(_Interruptible, HTTPConnection):  # type: ignore[misc]  # request and getresponse are narrower
    default_socket_options: ClassVar = [
        *HTTPConnection.default_socket_options,
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    ]


class UpstreamTLSConnection(_Interruptible, HTTPSConnection):  # type: ignore[misc]
    default_socket_options: ClassVar = UpstreamConnection.default_socket_options
