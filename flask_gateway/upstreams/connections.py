"""The connections of one process to its upstreams: pooled, each usable by one thread and cut by any.

urllib3's, with four things changed. A connection knows whether it lay idle in the pool before. Its
connecting has one clock, however many addresses a name has. While it carries an exchange, the exchange
holds its :class:`Line`. And it writes requests and reads answers itself (``response.py``): in less time
than http.client takes, and so that another than the thread that asked may read on.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, ClassVar

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from ..errors import NO_DESCRIPTOR
from ..sockets import is_quiet, send_all, wait_at_most
from .addresses import allowed
from .exchange import Exchange
from .response import Response, read_response

#: A body up to this size, bytes, is sent together with its head; to copy a longer one costs more than to
#: send it by itself.
ONE_SEND = 128 * 1024


class Line:
    """A second descriptor of a connection's socket, by which any thread can cut it.

    The socket object itself is its reader's. Over TLS to shut that down would take the reader's SSL
    state away under it; and its descriptor may be closed at any time, and its number be another's.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._fd = os.dup(sock.fileno())
        self._lock = threading.Lock()
        self._holder: Hold | None = None
        self._cut = False

    def lend(self) -> Hold:
        """To the exchange that has the connection now; who had it before can do nothing any more."""
        hold = Hold(self)
        with self._lock:
            self._holder = hold
        return hold

    def cut(self, hold: Hold) -> None:
        with self._lock:
            if self._holder is hold and self._fd >= 0:
                self._cut = True
                with suppress(OSError):
                    twin = socket.socket(fileno=self._fd)  # no further descriptor: there may be none left
                    try:
                        twin.shutdown(socket.SHUT_RDWR)
                    finally:
                        twin.detach()

    def take_back(self, hold: Hold | None) -> bool:
        """Whether it is whole. From now on nobody cuts it, if it was this one's, or whoever has it."""
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


class Hold:
    """One exchange's hold on a line (``exchange.Line``)."""

    __slots__ = ("_line",)

    def __init__(self, line: Line) -> None:
        self._line = line

    def cut(self) -> None:
        self._line.cut(self)

    def close(self) -> bool:
        return self._line.take_back(self)


class _Sending(threading.local):
    """What the thread is about to send, for the connection that urllib3 will choose for it."""

    exchange: Exchange
    #: Whether it has to be a new connection.
    fresh = False
    #: Whether it was one from the pool.
    reused = False


sending = _Sending()


class _Lined:
    """The additions to urllib3's connection classes, which this is mixed into."""

    sock: socket.socket | None
    timeout: Any  # a number, here
    _line: Line | None = None
    _used = False
    #: How long its socket waits, seconds; ``None``: that has to be said anew.
    patience: float | None = None

    def connect(self) -> None:
        self._used = False
        self.patience = None
        sending.exchange.connecting()
        self.timeout = sending.exchange.patience
        super().connect()  # type: ignore[misc]

    def _new_conn(self) -> socket.socket:
        """What urllib3 does here takes the connect timeout once for every address."""
        until = time.monotonic() + self.timeout
        host: str = self._dns_host  # type: ignore[attr-defined]
        port: int = self.port  # type: ignore[attr-defined]
        try:
            found = allowed(host, socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (socket.gaierror, UnicodeError) as error:
            raise NameResolutionError(host, self, error) from error  # type: ignore[arg-type]
        failure: OSError = OSError("the name has no address")
        for family, kind, protocol, _, address in found:
            try:
                return self._connected(socket.socket(family, kind, protocol), address, until)
            except OSError as error:
                failure = error
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(self, "timed out") from failure
        if failure.errno in NO_DESCRIPTOR:
            raise failure  # which is not the upstream's fault
        raise NewConnectionError(self, f"failed to connect: {failure}") from failure  # type: ignore[arg-type]

    def _connected(self, sock: socket.socket, address: Any, until: float) -> socket.socket:
        try:
            for option in self.socket_options or ():  # type: ignore[attr-defined]
                sock.setsockopt(*option)
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            sock.settimeout(left)
            self._hold(Line(sock))
            sock.connect(address)
        except BaseException:
            self._drop_line()
            sock.close()
            raise
        return sock

    @property
    def is_connected(self) -> bool:
        """Whether it is still good for a request: nobody has closed it, or sent what nobody asked for."""
        sock = self.sock
        return sock is not None and (is_quiet(sock) or bool(super().is_connected))  # type: ignore[misc]

    def _hold(self, line: Line) -> None:
        self._line = line
        sending.exchange.hold(line.lend())
        sending.exchange.check()

    def request(self, method: str, url: str, body: bytes = b"", headers: Any = None, **_: Any) -> None:
        """Head and body in one send, where http.client takes two and builds the head line by line."""
        if sending.fresh and self._used:
            self.close()
        sending.reused = self._used and self.sock is not None
        if self.sock is None:
            self.connect()
        elif sending.reused:
            assert self._line is not None
            self._hold(self._line)
        sending.exchange.connected()
        sock = self.sock
        assert sock is not None
        # The watcher rings the clocks, to the moment. This is for silence.
        self._wait_at_most(sending.exchange.clocks.first_byte)
        head = self._head(method, url, headers)
        self._used = True
        try:
            for part in (head + body,) if len(body) <= ONE_SEND else (head, body):
                send_all(sock, part, sock.gettimeout())
        except (BrokenPipeError, ConnectionResetError):
            return  # it may have answered all the same

    def _head(self, method: str, url: str, headers: Mapping[str, str]) -> bytes:
        host: str = self.host  # type: ignore[attr-defined]
        port: int = self.port  # type: ignore[attr-defined]
        host = f"[{host}]" if ":" in host else host
        if port != self.default_port:  # type: ignore[attr-defined]
            host = f"{host}:{port}"
        fields = [f"{method} {url} HTTP/1.1", f"Host: {host}"]
        fields += [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join(fields)
        lines = len(fields) - 1
        if head.count("\n") != lines or head.count("\r") != lines or "\0" in head:
            raise ValueError("a header with a line end in it")
        return head.encode("latin-1") + b"\r\n\r\n"

    def getresponse(self) -> Response:
        exchange = sending.exchange
        response = read_response(self)
        self._wait_at_most(exchange.clocks.idle)
        return response

    def _wait_at_most(self, seconds: float) -> None:
        """Mostly the same from clock to clock and request to request; to change it takes a system call."""
        if self.patience != seconds:
            assert self.sock is not None
            wait_at_most(self.sock, seconds)
            self.patience = seconds

    def let_go(self) -> None:
        """Before it goes to the pool: from now on it cannot be cut. One that was cut is closed."""
        if self._line is not None and not self._line.take_back(None):
            self.close()

    def close(self) -> None:
        self._drop_line()
        super().close()  # type: ignore[misc]

    def _drop_line(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.close()


class _Connection(_Lined, HTTPConnection):  # type: ignore[misc]  # request and getresponse are narrower
    default_socket_options: ClassVar = [
        *HTTPConnection.default_socket_options,
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    ]


class _TLSConnection(_Lined, HTTPSConnection):  # type: ignore[misc]
    default_socket_options: ClassVar = _Connection.default_socket_options


class _Idle:
    """The idle connections of a pool, as much of a queue as urllib3 asks for. Its own has a lock and
    conditions for those who wait for a connection; here nobody does."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._idle: deque[Any] = deque()

    def get(self, block: bool = False, timeout: float | None = None) -> Any:
        """The one that was put in last.

        :raises queue.Empty: there is none.
        """
        try:
            return self._idle.pop()
        except IndexError:
            raise queue.Empty from None

    def put(self, item: Any, block: bool = False) -> None:
        """:raises queue.Full: there are as many as there may be."""
        if len(self._idle) >= self._most:
            raise queue.Full
        self._idle.append(item)

    def qsize(self) -> int:
        return len(self._idle)


class Pooled:
    """The additions to urllib3's pools, which this is mixed into."""

    QueueCls: ClassVar[Any] = _Idle

    def ask(self, request: requests.PreparedRequest, path: str) -> Response:
        """Send it on a connection of the pool, and wait for the head of the answer. What urllib3 does
        beside, for redirects, proxies and its own retries, has no use here.

        :raises HTTPError: there is no connection. :raises HTTPException: what came is no answer.
        :raises OSError: the connection was lost.
        """
        connection = self._get_conn()  # type: ignore[attr-defined]
        try:
            connection.request(request.method, path, request.body or b"", request.headers)
            response: Response = connection.getresponse()
        except BaseException:
            connection.close()
            self._put_conn(connection)
            raise
        response.lend(connection, self)
        return response

    #: Whether connections are closed that would lie idle here.
    retired = False

    def retire(self) -> None:
        """It is needed no more, but by those who are at it."""
        self.retired = True
        with suppress(queue.Empty, AttributeError):  # which is what a closed pool has
            while True:
                idle = self.pool.get(block=False)  # type: ignore[attr-defined]
                if idle is not None:
                    idle.close()

    def _put_conn(self, conn: Any) -> None:
        if conn is not None:
            conn.let_go()
            if self.retired:
                conn.close()
        super()._put_conn(conn)  # type: ignore[misc]


class _Pool(Pooled, HTTPConnectionPool):
    ConnectionCls = _Connection  # type: ignore[assignment]


class _TLSPool(Pooled, HTTPSConnectionPool):
    ConnectionCls = _TLSConnection  # type: ignore[assignment]


class Answer(requests.Response):
    """requests' response, without the cookie jar and the copies that each of its own begins with."""

    def __init__(self, response: Response) -> None:
        self.status_code = response.status
        self.reason = response.reason
        self.headers = response.headers  # type: ignore[assignment]  # names in lower case
        self.raw = response
        self._content = False  # type: ignore[assignment]  # as the original's has it, while nothing has been read
        self._content_consumed = False


#: As requests has it. A test may have put another in its place (the ``responses`` package does), which is
#: then the one to be asked.
_STOCK_SEND = HTTPAdapter.send


class Adapter(HTTPAdapter):
    """requests' way to the pools."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        #: The pool and the path of each URL; there are a few for each upstream.
        self._known: dict[str, tuple[Any, str]] = {}
        super().__init__(*args, **kwargs)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """The head of the answer. What ``Pooled.ask`` raises is not made requests' own.

        :param verify: as requests has it; the other parameters are not looked at.
        """
        if HTTPAdapter.send is not _STOCK_SEND:
            return super().send(request, *args, **kwargs)
        assert request.url is not None
        known = self._known.get(request.url) or self._find(request, kwargs.get("verify", True))
        return Answer(known[0].ask(request, known[1]))

    def _find(self, request: requests.PreparedRequest, verify: bool | str) -> tuple[Any, str]:
        pool = self.get_connection_with_tls_context(request, verify, proxies={})
        url = str(request.url)
        self.cert_verify(pool, url, verify, None)  # type: ignore[no-untyped-call]
        self._known[url] = pool, self.request_url(request, {})
        return self._known[url]

    def retire(self) -> None:
        """See :meth:`Pooled.retire`."""
        for pool, _ in list(self._known.values()):
            pool.retire()

    def close(self) -> None:
        """Close what lies idle in the pools now; urllib3 leaves that to the garbage collector."""
        self._known.clear()
        pools = self.poolmanager.pools
        for key in pools.keys():  # noqa: SIM118 - it cannot be iterated, lest threads get in each other's way
            if (pool := pools.get(key)) is not None:
                pool.close()
        super().close()
