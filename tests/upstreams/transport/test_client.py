"""Tests the errors before the head of an answer: each says what happened, and what to do next."""

from __future__ import annotations

import errno
import http.client
import socket
import ssl
from typing import Any

import pytest
import requests
from kit.calls import make_call
from urllib3.exceptions import MaxRetryError, NameResolutionError, NewConnectionError, ProtocolError

from flask_gateway.config.schema import Timeouts
from flask_gateway.model.errors import (
    CallerLeft,
    GatewayError,
    Overloaded,
    UpstreamCut,
    UpstreamMalformed,
    UpstreamMisconfigured,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from flask_gateway.upstreams.transport.client import unanswered
from flask_gateway.upstreams.transport.deadlines import UpstreamAttempt
from flask_gateway.upstreams.transport.http1 import CutShort
from flask_gateway.upstreams.transport.proxies import ProxyFailed

POOL: Any = None


def attempt() -> UpstreamAttempt:
    return UpstreamAttempt(make_call(), "up", Timeouts(), lambda: True)


def wrapped(cause: Exception) -> requests.ConnectionError:
    """An error as requests wraps that of urllib3."""
    return requests.ConnectionError(MaxRetryError(POOL, "/", cause))


def tls(reason: str, kind: type[ssl.SSLError] = ssl.SSLError) -> ssl.SSLError:
    error = kind(1, reason)
    error.reason = reason
    return error


UNTRUSTED = tls("CERTIFICATE_VERIFY_FAILED", ssl.SSLCertVerificationError)


FAULTS: list[tuple[Exception, type[GatewayError], str]] = [
    (wrapped(NewConnectionError(POOL, "refused")), UpstreamUnreachable, "could not be connected to"),
    (wrapped(NameResolutionError("a.test", POOL, socket.gaierror())), UpstreamUnreachable, "has a name"),
    (
        UNTRUSTED,
        UpstreamUnreachable,
        "a certificate that is not trusted",
    ),
    (tls("TLSV1_ALERT_INTERNAL_ERROR"), UpstreamUnreachable, "failed the TLS handshake"),
    (tls("WRONG_VERSION_NUMBER"), UpstreamMisconfigured, "does not speak TLS at this port"),
    (ConnectionResetError(), UpstreamUnreachable, "closed the connection without an answer"),
    (CutShort("half a head"), UpstreamCut, "broke off in the middle of its answer's head"),
    (http.client.BadStatusLine("SSH-2.0"), UpstreamMalformed, "not HTTP"),
    (ProxyFailed("could not be reached: its proxy could not be connected to"), UpstreamUnreachable, "proxy"),
    (ProxyFailed("leads to a cloud's metadata service", refused=True), UpstreamMisconfigured, "metadata"),
    (ValueError("never seen"), UpstreamUnreachable, "gave no answer"),
]


@pytest.mark.parametrize(("fault", "kind", "words"), FAULTS, ids=[words for *_, words in FAULTS])
def test_a_fault_says_what_happened_and_what_to_do(
    fault: Exception, kind: type[GatewayError], words: str
) -> None:
    error = unanswered(fault, attempt())
    assert type(error) is kind
    assert error.upstream == "up"
    assert error.message.startswith("Upstream 'up' ")
    assert words in error.message
    assert "operator" in error.message or "again" in error.message
    assert error.message.endswith(".")


def test_the_bytes_of_the_exception_stay_out() -> None:
    assert "SSH" not in unanswered(http.client.BadStatusLine("SSH-2.0"), attempt()).message


def test_a_lack_of_descriptors_is_the_gateways_own_and_passes() -> None:
    error = unanswered(OSError(errno.EMFILE, "too many"), attempt())
    assert type(error) is Overloaded
    assert error.retry_after
    assert "Try again" in error.message


def test_a_timeout_of_the_library_is_a_timeout_with_its_setting() -> None:
    error = unanswered(requests.ReadTimeout(), attempt())
    assert type(error) is UpstreamTimeout
    assert "raise" in error.message


def test_an_attempt_that_was_ended_keeps_its_own_error() -> None:
    ended, left = attempt(), CallerLeft("The caller left.")
    ended.end(left)
    assert unanswered(wrapped(ProtocolError("cut")), ended) is left
