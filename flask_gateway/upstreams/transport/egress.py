"""Connects to upstreams that are not connected to directly: through a proxy, or at a Unix socket.

Imported only where an upstream needs it. The sockets are as those of ``connection.py``, so timeouts, cutting
and the relay work the same.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from ...config.schema import Proxy
from .connection import CutHandle, UpstreamConnection, UpstreamTLSConnection, current_send
from .egress_filter import allowed
from .happy_eyeballs import AddressInfo
from .proxies import Egress, ProxyFailed, authorization, refusal, tunnel
from .response import UpstreamResponse

#: A ``struct timeval``, for ``SO_SNDTIMEO``.
_TIMEVAL = struct.Struct("@ll")


#: How long a new connection through a proxy waits for this machine's own look-up, seconds.
LOOK_UP = 0.25
#: Look-ups at once. While all hang, names are not looked up here.
_LOOK_UPS = threading.BoundedSemaphore(4)


class _ThroughProxy:
    """Connects to the proxy. A mixin before :class:`UpstreamConnection` or its kin."""

    timeout: Any  # a number, here

    def __init__(self, *args: Any, egress: ProxyEgress, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._egress = egress

    def _at_proxy(self, until: float) -> socket.socket:
        """Return a connection to the proxy.

        :raises ProxyFailed: it cannot be connected to. :raises HTTPError: it took too long.
        """
        proxy = self._egress.proxy
        try:
            sock: socket.socket = self._open(proxy.host, proxy.port, until)  # type: ignore[attr-defined]
        except (NameResolutionError, NewConnectionError) as error:
            why = "has a name that could not be resolved" if isinstance(error, NameResolutionError) else ""
            raise ProxyFailed(
                f"could not be reached: its proxy {why or 'could not be connected to'}"
            ) from error
        context = self._egress.proxy_context
        return sock if context is None else self._secured(sock, context, until)

    def _refuse_metadata(self) -> None:
        """Apply the egress filter to a name that the proxy resolves, as far as this machine knows it.

        :raises ProxyFailed: the name leads to a cloud's metadata service.
        """
        host: str = self._dns_host  # type: ignore[attr-defined]
        found = found_here(host, self.port)  # type: ignore[attr-defined]
        if found and not allowed(host, found):
            raise ProxyFailed("has a name that leads to a cloud's metadata service", refused=True)

    def _secured(self, sock: socket.socket, context: ssl.SSLContext, until: float) -> socket.socket:
        try:
            sock.settimeout(max(until - time.monotonic(), 0.001))
            return context.wrap_socket(sock, server_hostname=self._egress.proxy.host)
        except ssl.SSLError as error:
            self._abandon(sock)
            untrusted = isinstance(error, ssl.SSLCertVerificationError)
            why = (
                "the certificate of its proxy is not trusted"
                if untrusted
                else "the TLS handshake with its proxy failed"
            )
            raise ProxyFailed(f"could not be reached: {why}", refused=True) from error
        except BaseException:
            self._abandon(sock)
            raise

    def _abandon(self, sock: socket.socket) -> None:
        self._drop_line()  # type: ignore[attr-defined]
        sock.close()


class _Tunnelled(_ThroughProxy):
    """Has the proxy connect to the upstream."""

    def _new_conn(self) -> socket.socket:
        until = time.monotonic() + self.timeout
        host = self._target()
        sock = self._at_proxy(until)
        try:
            tunnel(sock, self._egress.proxy, host, self.port, until)  # type: ignore[attr-defined]
        except TimeoutError as error:
            self._abandon(sock)
            raise ConnectTimeoutError(self, "timed out") from error
        except BaseException:
            self._abandon(sock)
            raise
        if self._egress.context is not None and isinstance(sock, ssl.SSLSocket):
            return pumped(sock)
        return sock

    def _target(self) -> str:
        """Return what the proxy is asked for: the name, or with ``socks5`` an address of it."""
        host: str = self._dns_host  # type: ignore[attr-defined]
        if self._egress.proxy.scheme != "socks5":
            self._refuse_metadata()
            return host
        try:
            found = allowed(host, socket.getaddrinfo(host, self.port, type=socket.SOCK_STREAM))  # type: ignore[attr-defined]
        except (socket.gaierror, UnicodeError) as error:
            raise NameResolutionError(host, self, error) from error  # type: ignore[arg-type]
        if not found:
            raise ProxyFailed("has a name that leads to a cloud's metadata service", refused=True)
        return str(found[0][4][0])


class TunnelledConnection(_Tunnelled, UpstreamConnection):  # type: ignore[misc]  # as its base
    """A plain-text upstream behind a SOCKS proxy."""


class TunnelledTLSConnection(_Tunnelled, UpstreamTLSConnection):  # type: ignore[misc]
    """A TLS upstream behind any proxy."""


class ForwardedConnection(_ThroughProxy, UpstreamConnection):  # type: ignore[misc]
    """A plain-text upstream behind an HTTP proxy, which forwards each request (RFC 9112, section 3.2.2)."""

    def _new_conn(self) -> socket.socket:
        until = time.monotonic() + self.timeout
        self._refuse_metadata()
        return self._at_proxy(until)

    def _head(self, method: str, url: str, headers: Mapping[str, str]) -> bytes:
        host = f"[{self.host}]" if ":" in self.host else self.host
        authority = host if self.port == self.default_port else f"{host}:{self.port}"
        credentials = authorization(self._egress.proxy)
        if credentials is not None:
            headers = {**headers, "Proxy-Authorization": credentials}
        return super()._head(method, f"http://{authority}{url}", headers)

    def getresponse(self) -> UpstreamResponse:  # type: ignore[override]
        response = super().getresponse()
        if response.status == 407:  # only a proxy answers that (RFC 9110, section 15.5.8)
            response.close()
            raise refusal(407)
        return response


class UnixConnection(UpstreamConnection):
    """An upstream at a Unix socket."""

    def __init__(self, *args: Any, path: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._path = path

    def _new_conn(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        try:
            self._hold(CutHandle(sock), current_send.exchange)
            # A full backlog blocks a blocking connect, and fails another one at once: unix(7).
            _send_within(sock, max(float(self.timeout), 0.001))
            sock.connect(self._path)
            _send_within(sock, 0)
        except BaseException as failure:
            self._drop_line()
            sock.close()
            if isinstance(failure, BlockingIOError | TimeoutError):
                raise ConnectTimeoutError(self, "timed out") from failure
            if isinstance(failure, OSError) and failure.errno is not None:
                raise NewConnectionError(self, f"failed to connect: {failure}") from failure
            raise
        return sock


def _send_within(sock: socket.socket, seconds: float) -> None:
    """:param seconds: 0 for any time."""
    whole = int(seconds)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIMEVAL.pack(whole, int((seconds - whole) * 1e6)))


class ProxyEgress(Egress):
    """The way through a proxy.

    :param context: verifies the upstream; ``None``: its URL is not https.
    :param proxy_context: verifies an ``https://`` proxy.
    """

    def __init__(
        self, context: ssl.SSLContext | None, proxy: Proxy, proxy_context: ssl.SSLContext | None
    ) -> None:
        self.context = context
        self.proxy = proxy
        self.proxy_context = proxy_context

    def connector(self, url: str) -> Callable[[], Any]:
        parts = urlsplit(url)
        host, options = parts.hostname or "", UpstreamConnection.default_socket_options
        if parts.scheme == "https":
            kind: Callable[..., Any] = partial(TunnelledTLSConnection, ssl_context=self.context)
        elif self.proxy.scheme.startswith("socks"):
            kind = TunnelledConnection
        else:
            kind = ForwardedConnection
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return partial(kind, host, port, socket_options=options, egress=self)


class UnixEgress(Egress):
    """The way to a Unix socket.

    :param path: of the socket.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def connector(self, url: str) -> Callable[[], Any]:
        return partial(UnixConnection, "localhost", 80, path=self.path)


def found_here(host: str, port: int) -> list[AddressInfo]:
    """Return the addresses of a name if this machine finds them in :data:`LOOK_UP` seconds, else none."""
    if not _LOOK_UPS.acquire(blocking=False):
        return []
    found: list[AddressInfo] = []
    done = threading.Event()

    def look_up() -> None:
        try:
            with suppress(OSError, UnicodeError):
                found.extend(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        finally:
            _LOOK_UPS.release()
            done.set()

    threading.Thread(target=look_up, name="look-up", daemon=True).start()
    done.wait(LOOK_UP)
    return [*found]


def pumped(outer: ssl.SSLSocket) -> socket.socket:
    """Return a socket whose bytes a thread carries through ``outer``.

    Python cannot run TLS inside an ``SSLSocket``. A TLS upstream behind an ``https://`` proxy needs that. The
    thread ends with the connection.
    """
    ours, theirs = socket.socketpair()
    outer.settimeout(None)
    threading.Thread(target=carry, args=(outer, theirs), name="tls-in-tls", daemon=True).start()
    return ours


def carry(outer: ssl.SSLSocket, inner: socket.socket) -> None:
    """Carry bytes both ways until one end closes, then close both.

    One thread carries them: an SSL object must not be read and written at once.
    """
    poll = select.poll()  # select() refuses descriptors from 1024 on
    for sock in (outer, inner):
        poll.register(sock, select.POLLIN)
    with suppress(OSError), outer, inner:
        while True:
            ready = {outer.fileno()} if outer.pending() else {fd for fd, _ in poll.poll()}
            for source, sink in ((outer, inner), (inner, outer)):
                if source.fileno() in ready:
                    data = source.recv(65536)
                    if not data:
                        return
                    sink.sendall(data)
