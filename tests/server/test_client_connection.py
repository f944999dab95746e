"""Tests a caller's connection: heads that arrive in parts, and their largest size."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from gunicorn.config import Config
from gunicorn.http.errors import InvalidRequestLine, LimitRequestHeaders, LimitRequestLine

from flask_gateway.server.client_connection import (
    MAX_HEAD,
    ClientConnection,
    HeadIncomplete,
)

HEAD = b"POST /v1/models HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"


@pytest.fixture
def pair() -> Iterator[tuple[ClientConnection, socket.socket]]:
    """A connection as the worker has it, and the caller's end."""
    ours, caller = socket.socketpair()
    config = Config()
    config.set("http_parser", "python")
    with ours, caller:
        ours.setblocking(False)
        conn = ClientConnection(config, ours, ("127.0.0.1", 1), ("127.0.0.1", 2))
        conn.init()
        yield conn, caller


def incomplete(conn: ClientConnection) -> None:
    with pytest.raises(HeadIncomplete):
        conn.next_request()


def test_a_head_in_single_bytes_becomes_one_request(pair: tuple[ClientConnection, socket.socket]) -> None:
    conn, caller = pair
    incomplete(conn)
    tries = 0
    for place in range(len(HEAD)):
        caller.sendall(HEAD[place : place + 1])
        if conn.collect_head() and place < len(HEAD) - 1:
            tries += 1
            incomplete(conn)
    request = conn.next_request()
    assert (request.method, request.path, conn.parser.req_count) == ("POST", "/v1/models", 1)
    assert tries < 8  # each time the head has doubled
    caller.sendall(b"abc" + HEAD[:20])
    assert request.body.read() == b"abc"
    incomplete(conn)
    caller.sendall(HEAD[20:] + b"def")
    assert conn.collect_head()
    request = conn.next_request()
    assert (request.body.read(), conn.parser.req_count) == (b"def", 2)


def test_a_request_that_was_read_with_the_previous_body_is_next(
    pair: tuple[ClientConnection, socket.socket],
) -> None:
    conn, caller = pair
    caller.sendall(HEAD + b"abc" + HEAD + b"def" + HEAD[:9])
    assert conn.next_request().body.read() == b"abc"
    assert conn.next_request().body.read() == b"def"
    incomplete(conn)
    caller.sendall(HEAD[9:])
    assert conn.collect_head()
    assert conn.next_request().path == "/v1/models"


@pytest.mark.parametrize(
    ("first", "then", "error"),
    [
        (b"NONSENSE\n", b"", InvalidRequestLine),
        (b"GET /" + b"x" * 3000, b"x" * 8000, LimitRequestLine),
    ],
)
def test_a_wrong_beginning_is_refused_before_the_end_of_the_head(
    pair: tuple[ClientConnection, socket.socket], first: bytes, then: bytes, error: type[Exception]
) -> None:
    conn, caller = pair
    caller.sendall(first)
    if then:
        incomplete(conn)
        caller.sendall(then)
        assert conn.collect_head()
    with pytest.raises(error):
        conn.next_request()


def test_a_caller_who_leaves_within_a_head_sends_no_request(
    pair: tuple[ClientConnection, socket.socket],
) -> None:
    conn, caller = pair
    caller.sendall(HEAD[:30])
    incomplete(conn)
    assert not conn.collect_head()
    caller.shutdown(socket.SHUT_WR)
    assert conn.collect_head()
    with pytest.raises(Exception, match="No more data"):
        conn.next_request()


@pytest.mark.parametrize("at_once", [True, False])
def test_a_head_has_a_largest_size_however_it_arrives(
    pair: tuple[ClientConnection, socket.socket], at_once: bool
) -> None:
    conn, caller = pair
    sent = b"GET / HTTP/1.1\r\n" + (b"A: " + b"x" * 4000 + b"\r\n") * (MAX_HEAD // 4000 + 1)
    size = len(sent) if at_once else 5000

    def send() -> None:
        for at in range(0, len(sent), size):
            caller.sendall(sent[at : at + size])
            while conn.collect_head():
                incomplete(conn)

    with pytest.raises(LimitRequestHeaders):
        send()


def test_between_two_requests_it_says_whether_the_second_has_begun(
    pair: tuple[ClientConnection, socket.socket],
) -> None:
    conn, caller = pair
    caller.sendall(HEAD + b"abc")
    assert conn.next_request().body.read() == b"abc"
    assert not conn.await_next()
    assert conn.sock.gettimeout() is None
    conn.sock.setblocking(False)
    assert not conn.collect_head()
    caller.sendall(HEAD + b"abc" + HEAD[:9])
    assert conn.collect_head()
    assert conn.next_request().body.read() == b"abc"
    assert conn.await_next()
    incomplete(conn)
    assert not conn.has_left
    caller.sendall(HEAD[9:] + b"abc")
    assert conn.collect_head()
    assert conn.next_request().body.read() == b"abc"
    assert not conn.await_next()
    caller.close()
    assert conn.collect_head()
    assert conn.has_left
