"""Asks a proxy for a connection to an upstream: HTTP CONNECT, or SOCKS version 5.

A plain-text upstream behind an HTTP proxy needs no connection of its own: see ``ForwardedConnection`` in
``egress.py``.
"""

from __future__ import annotations

import base64
import socket
import struct
import time
from collections.abc import Callable
from http.client import HTTPException
from typing import Any

from ...config.schema import Proxy
from .http1 import end_of_head, read_head

#: The longest name and the longest user or password in SOCKS, bytes (RFC 1928, RFC 1929).
_MOST_SOCKS = 255
#: The replies of a SOCKS server (RFC 1928, section 6).
_SOCKS_REPLIES = {
    1: "it failed",
    2: "its rules do not allow that",
    3: "the network is unreachable",
    4: "the host is unreachable",
    5: "the upstream refused the connection",
    6: "the time to live expired",
    7: "it does not know CONNECT",
    8: "it does not know this kind of address",
}


class ProxyFailed(OSError):
    """The proxy gave no connection to the upstream.

    :param text: what happened, to follow "Upstream 'x' ".
    :param refused: whether the proxy refused the gateway's credentials or the upstream's address, so that
        the operator has to change something.
    """

    def __init__(self, text: str, *, refused: bool = False) -> None:
        super().__init__(text)
        self.text = text
        self.refused = refused


class Egress:
    """How an upstream is reached that is not connected to directly: ``egress.py``.

    Equal settings share one object, since connections are pooled by it.
    """

    def connector(self, url: str) -> Callable[[], Any]:
        """Return what makes a connection object to the upstream of that URL, without connecting."""
        raise NotImplementedError


def authorization(proxy: Proxy) -> str | None:
    """Return the value of ``Proxy-Authorization`` (RFC 7617); ``None`` without credentials."""
    if proxy.credentials is None:
        return None
    return "Basic " + base64.b64encode(proxy.credentials.reveal().encode()).decode("ascii")


def tunnel(sock: socket.socket, proxy: Proxy, host: str, port: int, until: float) -> None:
    """Make the proxy connect this socket with the upstream.

    :param until: when it must be done, seconds of ``time.monotonic()``.
    :raises ProxyFailed: the proxy refuses, or is no proxy. :raises TimeoutError: it took too long.
    :raises OSError: the connection was lost.
    """
    stream = _Stream(sock, until)
    if proxy.scheme.startswith("socks"):
        _socks(stream, proxy, host, port)
    else:
        _connect(stream, proxy, host, port)


class _Stream:
    """Sends and receives on a blocking socket within one time."""

    def __init__(self, sock: socket.socket, until: float) -> None:
        self._sock = sock
        self._until = until

    def send(self, data: bytes) -> None:
        self._limit()
        self._sock.sendall(data)

    def receive(self, size: int) -> bytes:
        """Return at most this many bytes. :raises ProxyFailed: the proxy closed the connection."""
        self._limit()
        data = self._sock.recv(size)
        if not data:
            raise ProxyFailed("could not be reached: its proxy closed the connection")
        return data

    def exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += self.receive(size - len(data))
        return data

    def _limit(self) -> None:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the proxy took too long")
        self._sock.settimeout(left)


def _connect(stream: _Stream, proxy: Proxy, host: str, port: int) -> None:
    """HTTP's CONNECT (RFC 9110, section 9.3.6)."""
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}"]
    if (credentials := authorization(proxy)) is not None:
        lines.append(f"Proxy-Authorization: {credentials}")
    stream.send("\r\n".join([*lines, "", ""]).encode("latin-1"))
    data, scanned = bytearray(), 0
    try:
        while (end := end_of_head(data, scanned)) < 0:
            scanned = len(data)
            data += stream.receive(4096)
        status = read_head(data[:end]).status
    except HTTPException as error:
        raise ProxyFailed("could not be reached: its proxy does not speak HTTP", refused=True) from error
    if not 200 <= status < 300:
        raise refusal(status)
    if len(data) > end:
        raise ProxyFailed("could not be reached: its proxy sent more than an answer to CONNECT", refused=True)


def refusal(status: int) -> ProxyFailed:
    """Return the error for a proxy's status other than 2xx."""
    if status == 407:
        return ProxyFailed("could not be reached: its proxy asks for other credentials (407)", refused=True)
    if status in (400, 403, 404, 405, 501):
        return ProxyFailed(f"could not be reached: its proxy does not allow it ({status})", refused=True)
    return ProxyFailed(f"could not be reached by its proxy ({status})")


def _socks(stream: _Stream, proxy: Proxy, host: str, port: int) -> None:
    """SOCKS version 5 (RFC 1928), with a user and a password (RFC 1929) where there are some."""
    credentials = proxy.credentials.reveal() if proxy.credentials else None
    stream.send(b"\x05\x01\x00" if credentials is None else b"\x05\x02\x00\x02")
    version, method = stream.exactly(2)
    if version != 5:
        raise ProxyFailed("could not be reached: its proxy does not speak SOCKS 5", refused=True)
    if method == 2 and credentials is not None:
        _log_in(stream, credentials)
    elif method != 0:
        raise ProxyFailed("could not be reached: its proxy asks for credentials", refused=True)
    stream.send(b"\x05\x01\x00" + _address(host) + struct.pack(">H", port))
    _, reply, _, kind = stream.exactly(4)
    if reply:
        text = _SOCKS_REPLIES.get(reply, f"reply {reply}")
        raise ProxyFailed(f"could not be reached by its proxy: {text}", refused=reply == 2)
    length = {1: 4, 4: 16}.get(kind) or stream.exactly(1)[0]
    stream.exactly(length + 2)


def _log_in(stream: _Stream, credentials: str) -> None:
    user, _, password = credentials.partition(":")
    names = [text.encode()[:_MOST_SOCKS] for text in (user, password)]
    stream.send(b"\x01" + b"".join(bytes([len(name)]) + name for name in names))
    if stream.exactly(2)[1] != 0:
        raise ProxyFailed("could not be reached: its proxy refuses the credentials", refused=True)


def _address(host: str) -> bytes:
    for family, kind in ((socket.AF_INET, b"\x01"), (socket.AF_INET6, b"\x04")):
        try:
            return kind + socket.inet_pton(family, host)
        except OSError:
            continue
    name = host.encode("ascii")
    if len(name) > _MOST_SOCKS:
        raise ProxyFailed("has a name that is too long for SOCKS", refused=True)
    return b"\x03" + bytes([len(name)]) + name
