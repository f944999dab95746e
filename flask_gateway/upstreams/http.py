"""The pooled session of one process: one POST, its answer's bytes, and transport errors as ours.

The requests are built by hand and go straight to the session's adapter. So its cookie jar, netrc,
proxy variables, redirects and header merging are out of play: nothing of one call can reach another,
and no environment variable can change where a key is sent.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from http.client import HTTPException
from http.cookiejar import DefaultCookiePolicy
from typing import Any, ClassVar

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.hooks import default_hooks
from requests.structures import CaseInsensitiveDict
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    InvalidHeader,
    NameResolutionError,
    NewConnectionError,
    ReadTimeoutError,
    SSLError,
)

from ..errors import UpstreamCut, UpstreamError, UpstreamMalformed, UpstreamTimeout, UpstreamUnreachable

#: The longest wait for a connection, seconds: no host that is up takes longer.
CONNECT_TIMEOUT = 5.0
#: The most bytes taken from an answer in one read.
READ_SIZE = 65536
#: How long the end of a finished answer's framing is waited for, seconds, to keep the connection.
LINGER = 0.02

_this_thread = threading.local()


class _Reuse:
    """Notes, for the thread that sends, whether its connection lay idle in the pool before."""

    sock: socket.socket | None
    _used = False

    def connect(self) -> None:
        self._used = False
        super().connect()  # type: ignore[misc]  # of the connection class this is mixed into

    def request(self, *args: Any, **kwargs: Any) -> None:
        if _this_thread.fresh and self._used:
            self.close()  # type: ignore[attr-defined]  # http.client connects anew by itself
        _this_thread.reused = self._used and self.sock is not None
        super().request(*args, **kwargs)  # type: ignore[misc]
        self._used = True


class _Connection(_Reuse, HTTPConnection):
    default_socket_options: ClassVar = [
        *HTTPConnection.default_socket_options,
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    ]


class _TLSConnection(_Reuse, HTTPSConnection):
    default_socket_options: ClassVar = _Connection.default_socket_options


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}


class Http:
    """Posts to upstreams. Shared by all threads of a process; made after the fork, like its sockets.

    :param silence: the longest silence accepted from an upstream, seconds.
    :param pool_size: connections kept per upstream; the process's threads, at least.
    :param upstreams: how many upstreams there are, so that no pool evicts another.
    """

    def __init__(self, silence: float, pool_size: int = 64, upstreams: int = 10) -> None:
        self._timeout = (min(CONNECT_TIMEOUT, silence), silence)
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        adapter = _Adapter(pool_connections=upstreams, pool_maxsize=pool_size, max_retries=0)
        self.session.mount("http://", adapter)
        self.session.mount("https://", adapter)

    def post(self, url: str, body: bytes, headers: Mapping[str, str], upstream: str) -> requests.Response:
        """The head of the answer; its body is unread.

        A pooled connection may have been closed by the other side while it lay idle. When it turns
        out so before any byte of an answer, the request is sent once more on a fresh one.

        :raises UpstreamError: there is no answer, and why.
        """
        try:
            return self._send(url, body, headers)
        except (requests.RequestException, HTTPError) as error:
            if not (_this_thread.reused and _was_closed(error)):
                raise unanswered(error, upstream) from None
        try:
            return self._send(url, body, headers, fresh=True)
        except (requests.RequestException, HTTPError) as error:
            raise unanswered(error, upstream) from None

    def _send(
        self, url: str, body: bytes, headers: Mapping[str, str], *, fresh: bool = False
    ) -> requests.Response:
        request = requests.PreparedRequest()
        request.method = "POST"
        request.url = url
        request.headers = CaseInsensitiveDict(headers)
        request.headers["Content-Length"] = str(len(body))
        request.body = body
        request.hooks = default_hooks()
        _this_thread.reused = False
        _this_thread.fresh = fresh
        return self.session.get_adapter(url).send(request, stream=True, timeout=self._timeout, proxies={})

    def close(self) -> None:
        self.session.close()


class ResponseSource:
    """The body of an answer, as its bytes arrive (``reply.Source``)."""

    def __init__(self, response: requests.Response, upstream: str) -> None:
        self._raw: urllib3.BaseHTTPResponse = response.raw
        self._upstream = upstream

    def read(self) -> bytes:
        # read1 gives what is there; iter_content would wait for a full chunk of a close-delimited
        # body, and loses what came before a break.
        try:
            return self._raw.read1(READ_SIZE, decode_content=False)
        except ReadTimeoutError:
            raise UpstreamTimeout(
                f"Upstream '{self._upstream}' was silent for too long in the middle of its answer.",
                upstream=self._upstream,
            ) from None
        except (HTTPError, HTTPException, OSError, ValueError):
            raise UpstreamCut(
                f"Upstream '{self._upstream}' broke off in the middle of its answer.",
                upstream=self._upstream,
            ) from None

    def release(self) -> None:
        """Back to the pool, once the framing's end has been seen; it mostly came with the last bytes."""
        connection = self._raw.connection
        sock = getattr(connection, "sock", None)
        if sock is not None:
            with suppress(HTTPError, HTTPException, OSError, ValueError):
                sock.settimeout(LINGER)
                self._raw.read1(READ_SIZE, decode_content=False)
        self.close()

    def close(self) -> None:
        """Closes the connection, unless all of the answer has been read and it went back already."""
        self._raw.close()


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it wraps. requests' own classes mislead: its ``ConnectionError`` may be a
    refused connection, a lost one, or a timeout."""
    yield error
    for inner in (getattr(error, "reason", None), *error.args):
        if isinstance(inner, BaseException):
            yield from _causes(inner)


def _was_closed(error: BaseException) -> bool:
    """Whether the other side closed the connection, rather than kept silent or sent nonsense."""
    return any(isinstance(cause, ConnectionError) for cause in _causes(error))


#: What went wrong before the head of an answer, the most specific class first.
_UNANSWERED: tuple[tuple[type[BaseException], type[UpstreamError], str], ...] = (
    (NameResolutionError, UpstreamUnreachable, "has a name that could not be resolved"),
    (NewConnectionError, UpstreamUnreachable, "could not be connected to"),
    (ConnectTimeoutError, UpstreamTimeout, "could not be connected to in time"),
    (SSLError, UpstreamUnreachable, "failed the TLS handshake"),
    (ReadTimeoutError, UpstreamTimeout, "was silent for too long before its answer began"),
    (ConnectionError, UpstreamUnreachable, "closed the connection without an answer"),
    (requests.ConnectTimeout, UpstreamTimeout, "could not be connected to in time"),
    (requests.Timeout, UpstreamTimeout, "was silent for too long before its answer began"),
    (HTTPException, UpstreamMalformed, "answered with something that is not HTTP"),
    (InvalidHeader, UpstreamMalformed, "answered with something that is not HTTP"),
)


def unanswered(error: BaseException, upstream: str) -> UpstreamError:
    """A transport error before the head of an answer, as ours."""
    causes = list(_causes(error))
    for kind, ours, what in _UNANSWERED:
        if any(isinstance(cause, kind) for cause in causes):
            return ours(f"Upstream '{upstream}' {what}.", upstream=upstream)
    return UpstreamUnreachable(f"Upstream '{upstream}' gave no answer.", upstream=upstream)
