"""Tests the scripted provider: clients that leave, resets, framings, and closing it during an answer."""

from __future__ import annotations

import http.client
import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from flask_gateway.cli.selftest.scripted_provider import (
    PeerLeft,
    ProviderExchange,
    ScriptedProvider,
    read_request,
)

POST = b"POST /v1/x HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"


@contextmanager
def provider(behaviour: Callable[[ProviderExchange], None], scale: float = 1.0) -> Iterator[ScriptedProvider]:
    made = ScriptedProvider("a-model", behaviour, scale)
    try:
        yield made
    finally:
        made.close()


def connect(made: ScriptedProvider) -> socket.socket:
    host, port = made.url.removeprefix("http://").removesuffix("/v1").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def test_a_client_that_leaves_ends_the_wait() -> None:
    left = threading.Event()

    def wait(exchange: ProviderExchange) -> None:
        try:
            exchange.wait(60)
        except PeerLeft:
            left.set()
            raise

    with provider(wait) as made:
        with connect(made) as sock:
            sock.sendall(POST)
            while not made.asked:
                time.sleep(0.001)
        assert left.wait(20)


def test_closing_ends_an_answer_that_waits() -> None:
    with provider(lambda exchange: exchange.wait(60)) as made, connect(made) as sock:
        sock.sendall(POST)
        while not made.asked:
            time.sleep(0.001)
        made.close()
        assert sock.recv(1) == b""


def test_a_reset_is_no_end_of_a_body() -> None:
    with provider(lambda exchange: exchange.hang_up("reset")) as made, connect(made) as sock:
        sock.sendall(POST)
        with pytest.raises(ConnectionResetError):
            sock.recv(1)


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_each_framing_is_read_by_http_client(framing: str) -> None:
    def answer(exchange: ProviderExchange) -> None:
        exchange.begin(200, framing=framing, length=6)
        exchange.write(b"one")
        exchange.write(b"two")
        exchange.end()

    with provider(answer) as made:
        host = made.url.removeprefix("http://").removesuffix("/v1")
        client = http.client.HTTPConnection(host, timeout=20)
        for _ in range(2):  # the second one on the same connection, or on a new one
            client.request("POST", "/v1/x", b"{}")
            assert client.getresponse().read() == b"onetwo"
        client.close()
        assert len(made.asked) == 2


def test_seconds_are_scaled() -> None:
    with provider(lambda exchange: exchange.wait(100), scale=0.0001) as made, connect(made) as sock:
        sock.sendall(POST)
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (b"", None),
        (b"POST /x HTTP/1.1\r\nContent-Length: 5\r\n\r\nab", None),
        (POST, b"{}"),
        (b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", b"{}"),
    ],
)
def test_a_request_is_whole_or_none(raw: bytes, body: bytes | None) -> None:
    request = read_request(io.BytesIO(raw))
    assert (request.body if request else None) == body
