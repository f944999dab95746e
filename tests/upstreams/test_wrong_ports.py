"""Upstreams whose URL names the wrong port or scheme: the operator is told what to change."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from kit.calls import make_call

from flask_gateway.config.schema import Timeouts
from flask_gateway.model.errors import GatewayError, UpstreamMalformed, UpstreamMisconfigured, Verdict
from flask_gateway.reactor import Reactor
from flask_gateway.upstreams.http_upstream import HttpUpstream
from flask_gateway.upstreams.transport.client import UpstreamClient


@contextmanager
def saying(answer: bytes) -> Iterator[int]:
    """The port of a server that says this to whatever it is sent."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection, suppress(OSError):
                        connection.recv(65536)
                        connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


def asking(url: str) -> GatewayError:
    reactor = Reactor()
    http = UpstreamClient(reactor)
    try:
        with pytest.raises(GatewayError) as caught:
            HttpUpstream("llama", url, None, http, Timeouts()).send(make_call()).prime()
    finally:
        http.close()
        reactor.close()
    return caught.value


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"-ERR\r\n"],
)
def test_tls_to_a_plain_port(answer: bytes) -> None:
    with saying(answer) as port:
        error = asking(f"https://127.0.0.1:{port}/v1")
    assert isinstance(error, UpstreamMisconfigured)
    assert (error.status, error.verdict) == (502, Verdict.IGNORED)
    assert "http://" in error.message


@pytest.mark.parametrize(
    "answer", [b"\x15\x03\x01\x00\x02\x02\x46", b"\x15\x03\x03\x00\x02\x02\x28", b"\x15\x03\x00"]
)
def test_http_to_a_tls_port_that_answers_with_an_alert(answer: bytes) -> None:
    with saying(answer) as port:
        error = asking(f"http://127.0.0.1:{port}/v1")
    assert isinstance(error, UpstreamMisconfigured)
    assert (error.status, error.verdict) == (502, Verdict.IGNORED)
    assert "https://" in error.message


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b"-ERR unknown command\r\n\r\n"])
def test_http_to_a_port_of_something_else(answer: bytes) -> None:
    with saying(answer) as port:
        error = asking(f"http://127.0.0.1:{port}/v1")
    assert isinstance(error, UpstreamMalformed)
    assert "wrong port" in error.message
