"""Pools the connections of one process to its upstreams, and sends requests' requests through them.

There is one pool for each scheme, host, port and TLS context. No thread waits for a pooled connection: a
thread that finds none opens one. Redirects, proxies, retries and cookies do not exist here.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from ...model.protocols import Handle, Timekeeper
from .connection import UpstreamConnection, UpstreamTLSConnection
from .proxies import Egress
from .response import UpstreamResponse
from .tls_trust import context_for

#: The keep-alive timeout of an idle connection, seconds. Most servers have a shorter one, or not a much
#: longer.
MOST_IDLE = 60.0
#: At most this many connections are closed at a time, since the reactor's thread also relays streams.
BATCH = 32

Connection = UpstreamConnection | UpstreamTLSConnection


class Pool:
    """The connections to one address. Shared by all threads; the thread that takes a connection owns it.

    :param connect: makes a connection object, without connecting.
    :param most: how many idle connections are kept.
    :param timekeeper: fires when idle connections are too old.
    """

    def __init__(self, connect: Callable[[], Connection], most: int, timekeeper: Timekeeper) -> None:
        self.most = most
        self._connect = connect
        self._timekeeper = timekeeper
        #: The connection that has been idle for longest is first.
        self._idle: deque[Connection] = deque()
        #: The timer that closes idle connections. Guarded by the lock.
        self._aging: Handle | None = None
        self._timing = threading.Lock()
        self._retired = False

    def __len__(self) -> int:
        """How many connections are idle."""
        return len(self._idle)

    def send_once(self, request: requests.PreparedRequest, path: str) -> UpstreamResponse:
        """Send the request on a pooled or new connection, and wait for the head of the answer.

        :raises HTTPError: there is no connection. :raises HTTPException: the bytes are no HTTP answer.
        :raises OSError: the connection was lost.
        """
        connection = self._take()
        try:
            connection.request(str(request.method), path, request.body or b"", request.headers)  # type: ignore[arg-type]
            response = connection.getresponse()
        except BaseException:
            connection.let_go()
            connection.close()
            raise
        response.lend(connection, self)
        return response

    def _take(self) -> Connection:
        """Return the connection that was used last, or a new one. One that the upstream closed reconnects."""
        try:
            connection = self._idle.pop()
        except IndexError:
            return self._connect()
        if not connection.is_connected:
            connection.close()
        return connection

    def put_back(self, connection: Connection) -> None:
        """Keep the connection for the next request, unless it was cut or there are enough."""
        connection.let_go()
        connection.idle_since = time.monotonic()
        if self._retired or len(self._idle) >= self.most:
            connection.close()
        if connection.sock is None:
            return
        self._idle.append(connection)
        if self._retired:  # meanwhile
            self.retire()
        elif self._aging is None:
            self._age(connection.idle_since + MOST_IDLE)

    def retire(self) -> None:
        """Close idle connections now, and those in use when their call is over."""
        self._retired = True
        self._set_timer(None)
        while self._idle:
            try:
                self._idle.pop().close()
            except IndexError:  # another thread took it
                return

    def _age(self, when: float) -> None:
        # Two threads at once may each make a timer. The later one replaces the earlier one.
        self._set_timer(self._timekeeper.at(when, self._close_aged))
        if self._retired:  # meanwhile
            self._set_timer(None)

    def _set_timer(self, handle: Handle | None) -> None:
        with self._timing:
            old, self._aging = self._aging, handle
        if old is not None:
            old.cancel()

    def _close_aged(self) -> None:
        self._set_timer(None)  # first: a connection that is put back from now on sets a new timer
        when = self._close_batch(time.monotonic())
        if when is not None and not self._retired:
            self._age(when)

    def _close_batch(self, now: float) -> float | None:
        """Close a batch of connections that were idle for too long. Return when to do so again, if ever."""
        for _ in range(BATCH):
            try:
                oldest = self._idle.popleft()
            except IndexError:
                return None
            if oldest.idle_since + MOST_IDLE > now:
                self._idle.appendleft(oldest)
                return oldest.idle_since + MOST_IDLE
            oldest.close()
        return now


#: The most URLs whose pools are remembered. Some have an id of the caller's in them.
MOST_KNOWN = 4096


class LeanResponse(requests.Response):
    """A ``requests.Response`` that builds no cookie jar and copies nothing."""

    def __init__(self, response: UpstreamResponse) -> None:
        self.status_code = response.status
        self.reason = response.reason
        self.headers = response.headers  # type: ignore[assignment]  # names in lower case
        self.raw = response
        self._content = False  # type: ignore[assignment]  # requests' own value for "nothing read yet"
        self._content_consumed = False


class Adapter(HTTPAdapter):
    """Sends requests' requests through the pools: the seam at which requests can be replaced.

    :param most: how many idle connections each pool keeps.
    """

    def __init__(self, timekeeper: Timekeeper, most: int) -> None:
        super().__init__(max_retries=0)
        self.most = most
        self._timekeeper = timekeeper
        self._pools: dict[tuple[str, str, int, ssl.SSLContext | Egress | None], Pool] = {}
        #: The pool and the path of each URL; each upstream has a few URLs.
        self._known: dict[tuple[str, ssl.SSLContext | Egress | None], tuple[Pool, str]] = {}

    def send(
        self, request: requests.PreparedRequest, *args: Any, verify: Any = None, **kwargs: Any
    ) -> requests.Response:
        """Return the answer, of which the head has come. Exceptions are those of :meth:`Pool.send_once`.

        :param verify: the TLS context, or the egress; ``None``: the public authorities. Other parameters are
            ignored.
        """
        known = self._known.get((request.url, verify)) or self._find(request, verify)  # type: ignore[arg-type]
        return LeanResponse(known[0].send_once(request, known[1]))

    def _find(
        self, request: requests.PreparedRequest, verify: ssl.SSLContext | Egress | None
    ) -> tuple[Pool, str]:
        url = urlsplit(str(request.url))
        host, tls = url.hostname or "", url.scheme == "https"
        way: ssl.SSLContext | Egress | None = verify
        if isinstance(verify, Egress):
            port, connect = 0, verify.connector(str(request.url))
        else:
            port = url.port or (443 if tls else 80)
            way = (verify or context_for(None)) if tls else None
            kind = partial(UpstreamTLSConnection, ssl_context=way) if tls else UpstreamConnection
            # urllib3's constructor looks at its own class's default.
            connect = partial(kind, host, port, socket_options=UpstreamConnection.default_socket_options)
        # Two threads at once may make two pools: ``setdefault`` keeps one.
        pool = self._pools.setdefault(
            (url.scheme, host, port, way), Pool(connect, self.most, self._timekeeper)
        )
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        known = self._known[str(request.url), verify] = pool, request.path_url
        return known

    def resize(self, most: int) -> None:
        """Keep at most this many idle connections in each pool from now on."""
        self.most = most
        for pool in list(self._pools.values()):
            pool.most = most

    def retire(self) -> None:
        """See :meth:`Pool.retire`."""
        for pool in list(self._pools.values()):
            pool.retire()

    def close(self) -> None:
        self.retire()
        super().close()
