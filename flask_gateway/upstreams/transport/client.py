"""Sends one request to an upstream, reads its answer's bytes, and converts transport errors to the gateway's.

The client builds requests itself and passes them to the session's adapter. This bypasses the session's cookie
jar, netrc, proxy variables, redirects and header merging. So nothing of one call can reach another, and no
environment variable can change where a key is sent.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from contextlib import suppress
from http.client import HTTPException
from http.cookiejar import DefaultCookiePolicy

import requests
from urllib3.exceptions import (
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    SSLError,
)
from urllib3.exceptions import TimeoutError as HTTPTimeoutError

from ...model.errors import (
    NO_DESCRIPTOR,
    RETRY_SOON,
    SEND_AGAIN,
    TELL_OPERATOR,
    GatewayError,
    Overloaded,
    UpstreamCut,
    UpstreamError,
    UpstreamMalformed,
    UpstreamMisconfigured,
    UpstreamUnreachable,
)
from ...model.protocols import Timekeeper
from ...model.upload import LongBody
from .connection import current_send
from .deadlines import UpstreamAttempt
from .http1 import CutShort, TlsRecord
from .pool import Adapter
from .proxies import Egress, ProxyFailed
from .response import CLOSED, READ_SIZE, UpstreamResponse

#: How long to wait for the last bytes of a finished answer's framing, seconds, to keep the connection.
LINGER = 0.02
#: The timeout that requests gets, seconds. The attempt's own timeouts are shorter.
LONG = 3600.0
#: The exceptions for a request without an answer.
_BROKEN = (requests.RequestException, HTTPError, HTTPException, OSError)


class UpstreamClient:
    """Sends requests to upstreams. Shared by all threads of a process; made after the fork, like its sockets.

    :param timekeeper: enforces the timeouts of the attempts.
    :param pool_size: idle connections kept per upstream; as many as streams may be in flight.
    :param trust: verifies the certificates of upstreams without CAs of their own; ``None``: the public CAs.
    """

    def __init__(
        self, timekeeper: Timekeeper, pool_size: int = 64, trust: ssl.SSLContext | None = None
    ) -> None:
        self._timekeeper = timekeeper
        self._trust = trust
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._adapter = Adapter(timekeeper, pool_size)
        self.session.mount("http://", self._adapter)
        self.session.mount("https://", self._adapter)

    def post(
        self,
        url: str,
        body: bytes | LongBody,
        headers: Mapping[str, str],
        exchange: UpstreamAttempt,
        method: str = "POST",
        egress: ssl.SSLContext | Egress | None = None,
    ) -> ResponseSource:
        """Send the request. Return its answer, of which the head has been read. The source owns the exchange.

        An upstream may have closed an idle connection of the pool. If that shows before any byte of an
        answer, the request is sent once more, on a new connection.

        :param egress: verifies the upstream's certificate, instead of this client's ``trust``; or leads to
            it, through a proxy or to a Unix socket.
        :raises GatewayError: there is no answer; the error says why.
        """
        try:
            exchange.watch(self._timekeeper)
            exchange.check()
            request = _request(method, url, body, headers)
            source = ResponseSource(self._send(request, egress or self._trust, exchange), exchange)
        except BaseException:
            exchange.close()
            raise
        try:
            exchange.check()  # a connection that was cut may look like a short head
        except BaseException:
            source.close()
            raise
        if 200 <= source.response.status_code < 300:
            exchange.answered()
        else:  # the body of an error has the time that is left for the head
            exchange.refused(self._timekeeper)
        return source

    def _send(
        self,
        request: requests.PreparedRequest,
        verify: ssl.SSLContext | Egress | None,
        exchange: UpstreamAttempt,
    ) -> requests.Response:
        current_send.exchange = exchange
        try:
            return self._send_once(request, verify, fresh=False)
        except _BROKEN as error:
            if exchange.error is not None or not (current_send.reused and _was_closed(error)):
                raise unanswered(error, exchange) from None
        try:
            return self._send_once(request, verify, fresh=True)
        except _BROKEN as error:
            raise unanswered(error, exchange) from None

    def _send_once(
        self, request: requests.PreparedRequest, verify: ssl.SSLContext | Egress | None, *, fresh: bool
    ) -> requests.Response:
        current_send.fresh = fresh
        current_send.reused = False
        # The connection sets its timeouts itself, phase by phase.
        return self._adapter.send(request, stream=True, timeout=LONG, verify=verify, proxies={})

    def resize(self, pool_size: int) -> None:
        """Keep at most this many idle connections per upstream from now on."""
        self._adapter.resize(pool_size)

    def retire(self) -> None:
        """Close idle connections now, and those in use when their call is over. No new calls will come."""
        self._adapter.retire()

    def close(self) -> None:
        self.session.close()


def _request(
    method: str, url: str, body: bytes | LongBody, headers: Mapping[str, str]
) -> requests.PreparedRequest:
    request = requests.PreparedRequest()
    request.method = method
    request.url = url
    length = {"Content-Length": str(len(body))} if body or method == "POST" else {}
    request.headers = {**headers, **length}  # type: ignore[assignment]
    request.body = body  # type: ignore[assignment]  # the adapter is ours (``pool.py``)
    return request


class ResponseSource:
    """Reads the body of an answer as its bytes arrive (``model.source.Source``)."""

    __slots__ = ("__weakref__", "_exchange", "_raw", "response")

    def __init__(self, response: requests.Response, exchange: UpstreamAttempt) -> None:
        self.response = response
        self._raw: UpstreamResponse = response.raw  # type: ignore[assignment]  # the adapter's (``pool.py``)
        self._exchange = exchange

    def read(self) -> bytes:
        # read1 returns the bytes that have come. iter_content would wait for a full chunk of a
        # close-delimited body, and would lose the bytes before a fault.
        try:
            data = self._raw.read1(READ_SIZE, decode_content=False)
        except (HTTPError, HTTPException, OSError, ValueError) as error:
            raise self._broken(error) from None
        # A connection that was cut may look like a clean end.
        self._exchange.check()
        return data

    @property
    def channel(self) -> ResponseSource | None:
        """This source, while its answer can be read without blocking (``model.source.Channel``)."""
        return None if self._raw.closed else self

    @property
    def holds(self) -> bool:
        return self._raw.holds

    @property
    def patience(self) -> float:
        return self._exchange.silence_within

    def fileno(self) -> int:
        return self._raw.fileno()

    def unblock(self) -> None:
        self._raw.settimeout(0)

    def receive(self) -> bytes | None:
        try:
            data = self._raw.receive()
        except (HTTPException, OSError, ValueError) as error:
            raise self._broken(error) from None
        # A connection that was cut may look like a clean end. This thread fires the timeouts itself.
        if self._exchange.error is not None:
            raise self._exchange.error
        return data

    def send(self, data: bytes | bytearray) -> int:
        """See :meth:`UpstreamResponse.send`."""
        return self._raw.send(data)

    def expire(self) -> None:
        self._exchange.timed_out()

    def _broken(self, error: Exception) -> GatewayError:
        exchange = self._exchange
        if exchange.error is not None:
            return exchange.error
        if isinstance(error, HTTPTimeoutError | TimeoutError):
            return exchange.timed_out()
        return UpstreamCut(
            f"Upstream '{exchange.upstream}' broke off in the middle of its answer. {SEND_AGAIN}",
            upstream=exchange.upstream,
        )

    def release(self) -> None:
        """Return the connection to the pool. The framing's end usually came with the body's last bytes."""
        if not self._raw.closed:
            with suppress(HTTPException, OSError, ValueError):
                self._raw.settimeout(LINGER)
                self._raw.read1()
        self.close()

    def close(self) -> None:
        """Close the connection, unless the whole answer has been read and it is back in the pool."""
        # In this order: a connection that goes back must still have its lease, or it would count as cut.
        try:
            self._raw.close()
        finally:
            self._exchange.close()


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and the errors that it wraps.

    requests' own classes do not suffice: its ``ConnectionError`` may be a refused connection, a lost one, or
    a timeout.
    """
    yield error
    for inner in (getattr(error, "reason", None), *error.args):
        if isinstance(inner, BaseException):
            yield from _causes(inner)


def _was_closed(error: BaseException) -> bool:
    """Whether the upstream closed the connection, rather than timing out or sending invalid bytes."""
    return any(isinstance(cause, CLOSED) for cause in _causes(error))


def _timed_out(causes: list[BaseException]) -> bool:
    # In urllib3 the class of a refused connection is a subclass of a timeout's.
    return not any(isinstance(cause, NewConnectionError) for cause in causes) and any(
        isinstance(cause, requests.Timeout | HTTPTimeoutError | TimeoutError) for cause in causes
    )


#: OpenSSL's reasons for bytes that are no TLS at all.
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "UNKNOWN_PROTOCOL")
_UNTRUSTED = (
    "has a certificate that is not trusted. Your request is fine: tell the gateway's operator, who finds the "
    "reason with `doctor`, and names a private CA in the setting ca_file."
)
_CLOSED = f"closed the connection without an answer. {SEND_AGAIN}"
#: The error for each exception before the head of an answer, the most specific class first.
_UNANSWERED: tuple[tuple[type[BaseException], type[UpstreamError], str], ...] = (
    (ssl.SSLCertVerificationError, UpstreamUnreachable, _UNTRUSTED),
    (NameResolutionError, UpstreamUnreachable, f"has a name that could not be resolved. {TELL_OPERATOR}"),
    (NewConnectionError, UpstreamUnreachable, f"could not be connected to. {TELL_OPERATOR}"),
    (SSLError, UpstreamUnreachable, f"failed the TLS handshake. {TELL_OPERATOR}"),
    (ssl.SSLError, UpstreamUnreachable, f"failed the TLS handshake. {TELL_OPERATOR}"),
    (ConnectionError, UpstreamUnreachable, _CLOSED),
    (CutShort, UpstreamCut, f"broke off in the middle of its answer's head. {SEND_AGAIN}"),
    (
        HTTPException,
        UpstreamMalformed,
        f"answered with something that is not HTTP: its URL may name the wrong port. {TELL_OPERATOR}",
    ),
)


def unanswered(error: BaseException, exchange: UpstreamAttempt) -> GatewayError:
    """Convert a transport error before the head of an answer to the gateway's error."""
    if exchange.error is not None:
        return exchange.error
    upstream = exchange.upstream
    if isinstance(error, OSError) and error.errno in NO_DESCRIPTOR:
        message = "This server has as many connections open as it may have. Try again in a moment."
        return Overloaded(message, retry_after=RETRY_SOON, upstream=upstream)
    causes = list(_causes(error))
    if _timed_out(causes):
        return exchange.timed_out()
    if exchange.is_connected and _was_closed(error):
        return UpstreamUnreachable(f"Upstream '{upstream}' {_CLOSED}", upstream=upstream)
    for cause in causes:
        if isinstance(cause, ProxyFailed):
            kind = UpstreamMisconfigured if cause.refused else UpstreamUnreachable
            return kind(f"Upstream '{upstream}' {cause.text}. {TELL_OPERATOR}", upstream=upstream)
    error_class, description = _what_failed(causes)
    return error_class(f"Upstream '{upstream}' {description}", upstream=upstream)


def _what_failed(causes: list[BaseException]) -> tuple[type[UpstreamError], str]:
    if any(isinstance(cause, ssl.SSLError) and cause.reason in _NO_TLS for cause in causes):
        return UpstreamMisconfigured, (
            "does not speak TLS at this port: its URL has to begin with http://, or to name another port; "
            "tell the operator."
        )
    if any(isinstance(cause, TlsRecord) for cause in causes):
        return UpstreamMisconfigured, (
            "expects TLS at this port: its URL has to begin with https://, or to name another port; "
            "tell the operator."
        )
    for kind, error_class, description in _UNANSWERED:
        if any(isinstance(cause, kind) for cause in causes):
            return error_class, description
    return UpstreamUnreachable, f"gave no answer. {SEND_AGAIN}"
