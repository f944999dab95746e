"""Tests the words between the gateway and a proxy: CONNECT and SOCKS 5, against a scripted proxy."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from flask_gateway.config.schema import Proxy, Secret
from flask_gateway.upstreams.transport.proxies import ProxyFailed, authorization, refusal, tunnel

HTTP, SOCKS = Proxy("http", "proxy.test", 80), Proxy("socks5", "proxy.test", 1080)
SECRET = Secret("user:päss")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, proxy = socket.socketpair()
    with ours, proxy:
        yield ours, proxy


def asked(
    pair: tuple[socket.socket, socket.socket], proxy: Proxy, answer: bytes, host: str = "up.test"
) -> ProxyFailed | None:
    """Ask for a tunnel through a proxy that answers so. Return how it failed, if it did."""
    ours, theirs = pair
    theirs.sendall(answer)
    if not answer:
        theirs.shutdown(socket.SHUT_WR)
    try:
        tunnel(ours, proxy, host, 443, time.monotonic() + 30)
    except ProxyFailed as error:
        return error
    return None


@pytest.mark.parametrize(
    ("answer", "words", "refused"),
    [
        (b"", "closed the connection", False),
        (b"SSH-2.0\r\n\r\n", "does not speak HTTP", True),
        (b"HTTP/1.1 407 No\r\n\r\n", "other credentials (407)", True),
        (b"HTTP/1.1 403 No\r\n\r\n", "does not allow it (403)", True),
        (b"HTTP/1.1 502 No\r\n\r\n", "by its proxy (502)", False),
        (b"HTTP/1.1 200 Yes\r\n\r\nmore", "more than an answer", True),
    ],
)
def test_a_proxy_that_gives_no_tunnel(
    pair: tuple[socket.socket, socket.socket], answer: bytes, words: str, refused: bool
) -> None:
    error = asked(pair, HTTP, answer)
    assert error is not None
    assert words in error.text
    assert error.refused is refused
    assert refusal(407).refused


def test_connect_names_the_upstream_and_the_credentials(pair: tuple[socket.socket, socket.socket]) -> None:
    with_login = Proxy("http", "proxy.test", 80, SECRET)
    assert asked(pair, with_login, b"HTTP/1.1 200 Yes\r\n\r\n", "::1") is None
    sent = pair[1].recv(999).decode()
    assert sent.startswith("CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n")
    assert f"Proxy-Authorization: {authorization(with_login)}\r\n\r\n" in sent
    assert authorization(HTTP) is None


GRANTED = b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HT", "does not speak SOCKS 5"),
        (b"\x05\xff", "asks for credentials"),
        (b"\x05\x00\x05\x05\x00\x01", "the upstream refused the connection"),
        (b"\x05\x00\x05\x63\x00\x01", "reply 99"),
    ],
)
def test_a_socks_server_that_gives_no_connection(
    pair: tuple[socket.socket, socket.socket], answer: bytes, words: str
) -> None:
    error = asked(pair, SOCKS, answer)
    assert error is not None
    assert words in error.text


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("up.test", b"\x03\x07up.test"),
        ("10.0.0.1", b"\x01\x0a\x00\x00\x01"),
        ("::1", b"\x04" + b"\x00" * 15 + b"\x01"),
    ],
)
def test_socks_gets_names_and_addresses(
    pair: tuple[socket.socket, socket.socket], host: str, address: bytes
) -> None:
    assert asked(pair, SOCKS, b"\x05\x00" + GRANTED, host) is None
    assert pair[1].recv(999) == b"\x05\x01\x00" + b"\x05\x01\x00" + address + b"\x01\xbb"


def test_socks_logs_in_where_there_are_credentials(pair: tuple[socket.socket, socket.socket]) -> None:
    with_login = Proxy("socks5", "proxy.test", 1080, SECRET)
    assert asked(pair, with_login, b"\x05\x02" + b"\x01\x00" + GRANTED) is None
    assert b"\x01\x04user\x05p\xc3\xa4ss" in pair[1].recv(999)


def test_refused_credentials_and_a_name_that_is_too_long(pair: tuple[socket.socket, socket.socket]) -> None:
    error = asked(pair, Proxy("socks5", "proxy.test", 1080, SECRET), b"\x05\x02\x01\x01")
    assert error is not None
    assert "refuses the credentials" in error.text
    error = asked(pair, SOCKS, b"\x05\x00", "a" * 300)
    assert error is not None
    assert "too long for SOCKS" in error.text


def test_a_silent_proxy_times_out(pair: tuple[socket.socket, socket.socket]) -> None:
    found: list[BaseException] = []

    def ask() -> None:
        try:
            tunnel(pair[0], HTTP, "up.test", 443, time.monotonic() + 0.05)
        except TimeoutError as error:
            found.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join(30)
    assert len(found) == 1
