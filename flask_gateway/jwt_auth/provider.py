"""Fetches the keys of a provider over HTTPS: the discovery document, then the key set.

The provider is not trusted to be well: an answer has a time, a size, one status and no redirect.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

import msgspec

from ..config.errors import InvalidValue
from ..config.upstream_url import split_url
from .key_set import KeySet, UnusableKeySet, key_set_of

#: The longest that one answer may take, from the connection to its last byte, seconds.
MOST_SECONDS = 10.0
#: The longest answer, bytes.
MOST_BYTES = 512 * 1024
#: Where the discovery document is, below the issuer: OpenID Connect Discovery 1.0, 4.
DISCOVERY = "/.well-known/openid-configuration"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_EXPECTED = "an https:// URL without credentials and fragment (http:// on this machine alone)"


class ProviderFault(Exception):
    """The provider gave no usable answer. ``str()`` is one line for the operator."""


def checked_url(url: str) -> SplitResult:
    """Split the URL of a provider.

    :raises InvalidValue: it is none, or anybody on the network could change the answer.
    """
    if not url.isascii() or not url.isprintable() or " " in url:
        raise InvalidValue(_EXPECTED)
    parts = split_url(url, ("https", "http"))
    safe = parts.scheme == "https" or parts.hostname in _LOOPBACK
    if not safe or "@" in parts.netloc or parts.fragment:
        raise InvalidValue(_EXPECTED)
    return parts


class KeyProvider(NamedTuple):
    """Where the keys of an issuer are.

    :param key_set_url: of the key set; empty: the discovery document names it.
    :param ca_file: the authorities that verify it; empty: those of the system.
    :param allowed: the algorithms that keys are read for.
    """

    issuer: str
    key_set_url: str
    allowed: frozenset[str]
    ca_file: str = ""
    seconds: float = MOST_SECONDS

    def fetch(self) -> KeySet:
        """:raises ProviderFault: there is no usable key set."""
        url = self.key_set_url or self._discovered()
        try:
            return key_set_of(self._json(url), self.allowed)
        except UnusableKeySet as error:
            raise ProviderFault(f"the key set at {url} is of no use: {error}") from None

    def _discovered(self) -> str:
        """The URL of the key set, as the discovery document has it."""
        place = self.issuer.rstrip("/") + DISCOVERY
        document = self._json(place)
        if not isinstance(document, dict) or document.get("issuer") != self.issuer:
            raise ProviderFault(f"{place} is not of the issuer {self.issuer}")
        url = document.get("jwks_uri")
        try:
            checked_url(url if isinstance(url, str) else "")
        except InvalidValue as error:
            raise ProviderFault(f"the jwks_uri of {place} is not {error.expected}") from None
        return str(url)

    def _json(self, url: str) -> object:
        try:
            return msgspec.json.decode(self._get(urlsplit(url)))
        except (OSError, http.client.HTTPException) as error:
            raise ProviderFault(f"{url} does not answer: {type(error).__name__}: {error}"[:300]) from None
        except (ValueError, RecursionError):
            raise ProviderFault(f"{url} answers something that is no JSON") from None

    def _get(self, url: SplitResult) -> bytes:
        with closing(self._connection(url)) as connection:
            raw = socket.create_connection((connection.host, connection.port), self.seconds)
            connection.sock = raw
            with _cut_after(self.seconds, raw):
                if isinstance(connection, http.client.HTTPSConnection):
                    trusted = ssl.create_default_context(cafile=self.ca_file or None)
                    connection.sock = trusted.wrap_socket(raw, server_hostname=connection.host)
                path = (url.path or "/") + (f"?{url.query}" if url.query else "")
                connection.request("GET", path, headers={"Accept": "application/json"})
                with closing(connection.getresponse()) as answer:
                    if answer.status != 200:
                        raise ProviderFault(f"{url.geturl()} answers with status {answer.status}")
                    body = answer.read(MOST_BYTES + 1)
        if len(body) > MOST_BYTES:
            raise ProviderFault(f"{url.geturl()} answers more than {MOST_BYTES} bytes")
        return body

    def _connection(self, url: SplitResult) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        return kind(url.hostname or "", url.port)


@contextmanager
def _cut_after(seconds: float, connected: socket.socket) -> Iterator[None]:
    """Cut a connection that is still in use after so long, however slowly its bytes come."""
    line = connected.dup()  # TLS takes the descriptor of the first one away

    def cut() -> None:
        with suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        line.close()


#: Fetches a key set, or raises :class:`ProviderFault`.
Fetch = Callable[[], KeySet]
