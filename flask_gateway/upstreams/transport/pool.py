"""Pools the connections of one process to its upstreams, and sends requests' requests through them.

The pools are urllib3's and the adapter is requests', without their code for redirects, proxies, retries,
cookies and blocking pools. No thread waits for a pooled connection: a thread that finds none opens one.
"""

from __future__ import annotations

import queue
import ssl
import time
from collections import deque
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar

import requests
from requests.adapters import HTTPAdapter
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from ...model.protocols import Handle, Timekeeper
from .connection import UpstreamConnection, UpstreamTLSConnection
from .response import UpstreamResponse

#: The keep-alive timeout of an idle connection, seconds. Most servers have a shorter one, or not a much
#: longer.
MOST_IDLE = 60.0
#: At most this many connections are closed at a time, since the reactor's thread also relays streams.
BATCH = 32


class _Idle:
    """The idle connections of a pool: the part of ``queue.Queue`` that urllib3 uses.

    urllib3's own queue has a lock and conditions for threads that wait for a connection. None waits here.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        #: The connection that has been idle for longest is first.
        self._idle: deque[Any] = deque()

    def get(self, block: bool = False, timeout: float | None = None) -> Any:
        """Return the connection that was put in last.

        :raises queue.Empty: no connection is idle.
        """
        try:
            return self._idle.pop()
        except IndexError:
            raise queue.Empty from None

    def put(self, item: Any, block: bool = False) -> None:
        """:raises queue.Full: the limit of idle connections is reached."""
        if len(self._idle) >= self.most:
            raise queue.Full
        if item is not None:  # urllib3 fills a new pool with None
            self._idle.append(item)

    def qsize(self) -> int:
        return len(self._idle)

    def close_aged(self, now: float) -> float | None:
        """Close a batch of connections that were idle for too long. Return when to do so again, if ever."""
        for _ in range(BATCH):
            try:
                oldest = self._idle.popleft()
            except IndexError:
                return None
            if oldest.idle_since + MOST_IDLE > now:
                self._idle.appendleft(oldest)
                return float(oldest.idle_since) + MOST_IDLE
            oldest.close()
        return now


class Pooled:
    """Adds sending, retirement and the keep-alive timeout to urllib3's pools. A mixin."""

    QueueCls: ClassVar[Any] = _Idle

    def send_once(self, request: requests.PreparedRequest, path: str) -> UpstreamResponse:
        """Send the request on a pooled or new connection, and wait for the head of the answer.

        urllib3's own ``urlopen`` also handles redirects, proxies and retries, which are not used here.

        :raises HTTPError: there is no connection. :raises HTTPException: the bytes are no HTTP answer.
        :raises OSError: the connection was lost.
        """
        connection = self._get_conn()  # type: ignore[attr-defined]
        try:
            connection.request(request.method, path, request.body or b"", request.headers)
            response: UpstreamResponse = connection.getresponse()
        except BaseException:
            connection.close()
            self._put_conn(connection)
            raise
        response.lend(connection, self)
        return response

    #: Whether connections are closed instead of being kept idle.
    retired = False
    #: Fires when idle connections are too old; ``None``: they have no keep-alive timeout.
    timekeeper: Timekeeper | None = None
    _aging: Handle | None = None

    def retire(self) -> None:
        """Close idle connections now, and those in use when their call is over."""
        self.retired = True
        self._stop_aging()
        with suppress(queue.Empty, AttributeError):  # a closed pool raises AttributeError
            while True:
                idle = self.pool.get(block=False)  # type: ignore[attr-defined]
                if idle is not None:
                    idle.close()

    def _put_conn(self, conn: Any) -> None:
        if conn is not None:
            conn.let_go()
            conn.idle_since = time.monotonic()
            if self.retired:
                conn.close()
        super()._put_conn(conn)  # type: ignore[misc]
        if self._aging is None and self.timekeeper is not None and not self.retired:
            self._age(self.timekeeper, time.monotonic() + MOST_IDLE)

    def _age(self, timekeeper: Timekeeper, when: float) -> None:
        # Two threads at once may set two timers: one of them finds nothing to close.
        self._aging = timekeeper.at(when, partial(self._close_aged, timekeeper))

    def _close_aged(self, timekeeper: Timekeeper) -> None:
        self._aging = None  # first: a connection that is put in from now on sets a new timer
        idle: _Idle | None = self.pool  # type: ignore[attr-defined]
        when = None if idle is None else idle.close_aged(time.monotonic())
        if when is not None and not self.retired:
            self._age(timekeeper, when)

    def _stop_aging(self) -> None:
        handle, self._aging = self._aging, None
        if handle is not None:
            handle.cancel()

    def close(self) -> None:
        self._stop_aging()
        super().close()  # type: ignore[misc]


class _Pool(Pooled, HTTPConnectionPool):
    ConnectionCls = UpstreamConnection  # type: ignore[assignment]


class _TLSPool(Pooled, HTTPSConnectionPool):
    ConnectionCls = UpstreamTLSConnection  # type: ignore[assignment]


class LeanResponse(requests.Response):
    """A ``requests.Response`` that builds no cookie jar and copies nothing."""

    def __init__(self, response: UpstreamResponse) -> None:
        self.status_code = response.status
        self.reason = response.reason
        self.headers = response.headers  # type: ignore[assignment]  # names in lower case
        self.raw = response
        self._content = False  # type: ignore[assignment]  # requests' own value for "nothing read yet"
        self._content_consumed = False


#: requests' own method. A test may replace it (the ``responses`` package does); then the replacement is used.
_STOCK_SEND = HTTPAdapter.send


class Adapter(HTTPAdapter):
    """Sends requests' requests through the pools."""

    #: Passed on to the pools.
    timekeeper: Timekeeper | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        #: The pool and the path of each URL; each upstream has a few URLs.
        self._known: dict[tuple[str, object], tuple[Any, str]] = {}
        super().__init__(*args, **kwargs)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Return the answer, of which the head has come. Exceptions are those of :meth:`Pooled.send_once`.

        :param verify: a TLS context, or a value as for requests; other parameters are ignored.
        """
        if HTTPAdapter.send is not _STOCK_SEND:
            return super().send(request, *args, **kwargs)
        assert request.url is not None
        verify = kwargs.get("verify", True)
        known = self._known.get((request.url, verify)) or self._find(request, verify)
        return LeanResponse(known[0].send_once(request, known[1]))

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> Any:
        """Like requests' own, and also takes a TLS context for ``verify``."""
        if not isinstance(verify, ssl.SSLContext):
            return super().build_connection_pool_key_attributes(request, verify, cert)
        host, _ = super().build_connection_pool_key_attributes(request, True, cert)
        return host, {"ssl_context": verify} if host["scheme"] == "https" else {}

    def _find(
        self, request: requests.PreparedRequest, verify: bool | str | ssl.SSLContext
    ) -> tuple[Any, str]:
        pool: Any = self.get_connection_with_tls_context(request, verify, proxies={})  # type: ignore[arg-type]
        url = str(request.url)
        if not isinstance(verify, ssl.SSLContext):
            self.cert_verify(pool, url, verify, None)  # type: ignore[no-untyped-call]
        pool.timekeeper = self.timekeeper
        known = self._known[url, verify] = pool, self.request_url(request, {})
        return known

    def resize(self, most: int) -> None:
        """Keep at most this many idle connections in each pool from now on."""
        self._pool_maxsize = most
        self.poolmanager.connection_pool_kw["maxsize"] = most
        for pool, _ in list(self._known.values()):
            pool.pool.most = most

    def retire(self) -> None:
        """See :meth:`Pooled.retire`."""
        for pool, _ in list(self._known.values()):
            pool.retire()

    def close(self) -> None:
        """Close the idle connections now. urllib3 would leave them to the garbage collector."""
        self._known.clear()
        pools = self.poolmanager.pools
        for key in pools.keys():  # noqa: SIM118 - urllib3 refuses iteration, which would not be thread-safe
            if (pool := pools.get(key)) is not None:
                pool.close()
        super().close()
