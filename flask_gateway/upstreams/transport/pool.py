"""The pools of one process's connections to its upstreams, and requests' way to them.

urllib3's and requests' own, without what they do beside: for redirects, proxies, retries, cookies, and
for those who wait for a connection. Here nobody does; whoever finds none makes one.
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

#: How long a connection may lie idle, seconds. Most servers close theirs sooner, or soon after.
MOST_IDLE = 60.0
#: Connections that are closed at a time, since the thread that does it has streams to carry.
BATCH = 32


class _Idle:
    """The idle connections of a pool, as much of a queue as urllib3 asks for. Its own has a lock and
    conditions for those who wait for a connection; here nobody does."""

    def __init__(self, most: int) -> None:
        self.most = most
        #: The one that has been idle for longest stands first.
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
        if len(self._idle) >= self.most:
            raise queue.Full
        if item is not None:  # a pool of urllib3 begins full of nothing
            self._idle.append(item)

    def qsize(self) -> int:
        return len(self._idle)

    def close_aged(self, now: float) -> float | None:
        """Close a batch of those that have been idle for too long. When to do so again; ``None``: never."""
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
    """The additions to urllib3's pools, which this is mixed into."""

    QueueCls: ClassVar[Any] = _Idle

    def ask(self, request: requests.PreparedRequest, path: str) -> UpstreamResponse:
        """Send it on a connection of the pool, and wait for the head of the answer. What urllib3 does
        beside, for redirects, proxies and its own retries, has no use here.

        :raises HTTPError: there is no connection. :raises HTTPException: what came is no answer.
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

    #: Whether connections are closed that would lie idle here.
    retired = False
    #: Rings when idle connections have aged; without it they do not.
    timekeeper: Timekeeper | None = None
    _aging: Handle | None = None

    def retire(self) -> None:
        """It is needed no more, but by those who are at it."""
        self.retired = True
        self._stop_aging()
        with suppress(queue.Empty, AttributeError):  # which is what a closed pool has
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
        # Two threads at once may ask for two rings: one of them finds nothing to do.
        self._aging = timekeeper.at(when, partial(self._close_aged, timekeeper))

    def _close_aged(self, timekeeper: Timekeeper) -> None:
        self._aging = None  # before it looks: what is put in from now on asks for a ring
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
    """requests' response, without the cookie jar and the copies that each of its own begins with."""

    def __init__(self, response: UpstreamResponse) -> None:
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

    #: Given to the pools.
    timekeeper: Timekeeper | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        #: The pool and the path of each URL; there are a few for each upstream.
        self._known: dict[tuple[str, object], tuple[Any, str]] = {}
        super().__init__(*args, **kwargs)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """The head of the answer. What ``Pooled.ask`` raises is not made requests' own.

        :param verify: a TLS context, or as requests has it; the other parameters are not looked at.
        """
        if HTTPAdapter.send is not _STOCK_SEND:
            return super().send(request, *args, **kwargs)
        assert request.url is not None
        verify = kwargs.get("verify", True)
        known = self._known.get((request.url, verify)) or self._find(request, verify)
        return LeanResponse(known[0].ask(request, known[1]))

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> Any:
        """As requests has it, which knows of no contexts."""
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
        """How many connections may lie idle in each pool from now on."""
        self._pool_maxsize = most
        self.poolmanager.connection_pool_kw["maxsize"] = most
        for pool, _ in list(self._known.values()):
            pool.pool.most = most

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
