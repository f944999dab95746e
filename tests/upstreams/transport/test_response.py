"""Tests that answers are read as requests reads them, from any server, in any framing."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from kit.two_clients import (
    BODY,
    CHUNKED,
    FIVE,
    HELLO,
    NONE,
    OK,
    SECONDS,
    Answer,
    Lean,
    Server,
    Stock,
    drained,
)

from flask_gateway.upstreams.transport.http1 import MalformedResponse
from flask_gateway.upstreams.transport.response import MAX_INTERIM, read_response

Client = Callable[[str, bytes], Answer]


class Case(NamedTuple):
    """An answer's bytes. When ours is not what requests makes of them: what it is, and why."""

    raw: bytes
    closes: bool = False
    why: str = ""
    ours: Answer = NONE
    #: Connections that two requests take of us, and of requests.
    opens: tuple[int, int] = (1, 1)


AGAIN = (2, 2)
READ_IN_TWO_WAYS = "it can be read in two ways"
HALF_A_HEAD = "half a head is none"
LEFTOVER = "bytes that nobody asked for are nobody's answer"


CASES = {
    # Framings.
    "length": Case(OK + HELLO),
    "length, closed": Case(OK + HELLO, closes=True, opens=AGAIN),
    "length, says close": Case(OK + b"Connection: close\r\n" + HELLO, closes=True, opens=AGAIN),
    "length 0": Case(OK + b"Content-Length: 0\r\n\r\n"),
    "length twice the same": Case(OK + FIVE + HELLO),
    "204": Case(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "304": Case(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n"),
    "chunked": Case(OK + CHUNKED + b"\r\n" + BODY),
    "chunked, in pieces": Case(OK + CHUNKED + b"\r\n1\r\nh\r\n04\r\nello\r\n0\r\n\r\n"),
    "chunked, big": Case(OK + CHUNKED + b"\r\n186A0\r\n" + b"x" * 100_000 + b"\r\n0\r\n\r\n"),
    "chunked, extended": Case(OK + CHUNKED + b"\r\n5;a=b;c\r\nhello\r\n0;d\r\n\r\n"),
    "chunked, trailers": Case(OK + CHUNKED + b"\r\n5\r\nhello\r\n0\r\nT: x\r\nU: y\r\n\r\n"),
    "chunked, bare LF": Case(
        OK + CHUNKED + b"\r\n5\nhello\n0\n\n",
        closes=True,
        why="both refuse it, requests later",
        ours=Answer(200, {"transfer-encoding": "chunked"}, b"", whole=False),
        opens=AGAIN,
    ),
    "Chunked": Case(OK + b"transfer-encoding: Chunked\r\n\r\n" + BODY),
    "chunked and a length": Case(
        OK + CHUNKED + FIVE + b"\r\n" + BODY, why="RFC 9112, 6.3: closed", opens=(2, 1)
    ),
    "until closed": Case(OK + b"\r\nhello", closes=True, opens=AGAIN),
    "until closed, nothing": Case(OK + b"\r\n", closes=True, opens=AGAIN),
    "1.0": Case(b"HTTP/1.0 200 OK\r\n\r\nhello", closes=True, opens=AGAIN),
    "1.0, length": Case(b"HTTP/1.0 200 OK\r\n" + HELLO, closes=True, opens=AGAIN),
    "1.0, kept": Case(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + HELLO),
    # Heads.
    "no reason": Case(b"HTTP/1.1 200\r\n" + HELLO),
    "an empty reason": Case(b"HTTP/1.1 200 \r\n" + HELLO),
    "an odd status": Case(b"HTTP/1.1 799 What\r\n" + HELLO),
    "latin-1": Case(b"HTTP/1.1 200 \xd6k\r\nX: \xe4\xf6\r\n" + HELLO),
    "odd names": Case(OK + b"X_y.1!#$%&'*+-^`|~: v\r\nCONTENT-length:5\r\n\r\nhello"),
    "twice": Case(OK + b"A: 1\r\nB: 2\r\na: 3\r\nSet-Cookie: x=1\r\nSet-Cookie: y=2\r\n" + HELLO),
    "empty": Case(OK + b"A:\r\nB: \r\n" + HELLO),
    "spaces around": Case(
        OK + b"A: \t b c \t\r\n" + HELLO,
        why="RFC 9112, 5.1: no part of the value",
        ours=Answer(200, {"a": "b c", "content-length": "5"}, b"hello"),
    ),
    "colons": Case(OK + b"A: b: c\r\n" + HELLO),
    "bare LF": Case(b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello"),
    "99 headers": Case(OK + b"".join(b"h%d: v\r\n" % n for n in range(98)) + HELLO),
    "an error": Case(b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\n" + HELLO),
    "a redirect": Case(b"HTTP/1.1 201 Created\r\nLocation: /elsewhere\r\n" + HELLO),
    "gzip": Case(OK + b"Content-Encoding: gzip\r\n" + HELLO),
    # Interim heads before the answer.
    "100 first": Case(b"HTTP/1.1 100 Continue\r\n\r\n" + OK + HELLO),
    "100 twice": Case(b"HTTP/1.1 100 Continue\r\nA: b\r\n\r\n" * 2 + OK + HELLO),
    "103 first": Case(
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK + HELLO,
        why="http.client takes it for the answer",
        ours=Answer(200, {"content-length": "5"}, b"hello"),
    ),
    "101": Case(b"HTTP/1.1 101 Up\r\nUpgrade: x\r\n\r\n", why="what follows is not HTTP", opens=(2, 1)),
    # Truncated answers.
    "nothing": Case(b"", closes=True, opens=AGAIN),
    "100 and nothing": Case(b"HTTP/1.1 100 Continue\r\n\r\n", closes=True, opens=AGAIN),
    "length, cut": Case(OK + HELLO[:-2], closes=True, opens=AGAIN),
    "length, cut at once": Case(OK + HELLO[:-5], closes=True, opens=AGAIN),
    "chunked, cut in a chunk": Case(OK + CHUNKED + b"\r\n" + BODY[:6], closes=True, opens=AGAIN),
    "chunked, cut after one": Case(OK + CHUNKED + b"\r\n" + BODY[:10], closes=True, opens=AGAIN),
    "chunked, cut in a size": Case(OK + CHUNKED + b"\r\n" + BODY + b"1", opens=(2, 1), why=LEFTOVER),
    "chunked, cut in its end": Case(
        OK + CHUNKED + b"\r\n" + BODY[:-2],
        closes=True,
        why="the last line may be one of many",
        ours=Answer(200, {"transfer-encoding": "chunked"}, b"hello", whole=False),
        opens=AGAIN,
    ),
    "half a status": Case(OK[:-3], closes=True, why=HALF_A_HEAD, opens=AGAIN),
    "half a header": Case(OK + b"A: b", closes=True, why=HALF_A_HEAD, opens=AGAIN),
    "a head without its end": Case(OK + b"A: b\r\n", closes=True, why=HALF_A_HEAD, opens=AGAIN),
    # Invalid or ambiguous HTTP.
    "no HTTP": Case(b"SSH-2.0-OpenSSH\r\n\r\n", closes=True, opens=AGAIN),
    "HTTP/2": Case(b"HTTP/2 200 OK\r\n" + HELLO, closes=True, opens=AGAIN),
    "HTTP/1.2": Case(b"HTTP/1.2 200 OK\r\n" + HELLO, closes=True, why="there is no such", opens=AGAIN),
    "no number": Case(b"HTTP/1.1 OK\r\n" + HELLO, closes=True, opens=AGAIN),
    "folded": Case(OK + b"A: b\r\n c\r\n" + HELLO, why="RFC 9112, 5.2: obsolete", opens=(2, 1)),
    "a space before the colon": Case(
        OK + b"A : b\r\n" + HELLO, closes=True, why=READ_IN_TWO_WAYS, opens=AGAIN
    ),
    "no colon": Case(OK + b"A b\r\n" + HELLO, closes=True, why=READ_IN_TWO_WAYS, opens=AGAIN),
    "a bare CR": Case(OK + b"A: b\rC: d\r\n" + HELLO, why=READ_IN_TWO_WAYS, opens=(2, 1)),
    "a NUL": Case(OK + b"A: b\0\r\n" + HELLO, why=READ_IN_TWO_WAYS, opens=(2, 1)),
    "101 headers": Case(OK + b"".join(b"h%d: v\r\n" % n for n in range(100)) + HELLO, opens=AGAIN),
    "a long line": Case(OK + b"A: " + b"x" * 70_000 + b"\r\n" + HELLO, opens=AGAIN),
    "a long head": Case(
        OK + (b"A: " + b"x" * 1000 + b"\r\n") * 70 + HELLO, why="64 KiB in all", opens=(2, 1)
    ),
    "two lengths": Case(OK + b"Content-Length: 4\r\n" + HELLO, closes=True, opens=AGAIN),
    "a signed length": Case(OK + b"Content-Length: +5\r\n\r\nhello", why=READ_IN_TWO_WAYS, opens=(2, 1)),
    "a negative length": Case(
        OK + b"Content-Length: -5\r\n\r\nhello", closes=True, why=READ_IN_TWO_WAYS, opens=AGAIN
    ),
    "no length": Case(
        OK + b"Content-Length: x\r\n\r\nhello", closes=True, why=READ_IN_TWO_WAYS, opens=AGAIN
    ),
    "another encoding": Case(
        OK + b"Transfer-Encoding: gzip\r\n" + HELLO, why="nobody asked for it", opens=(2, 1)
    ),
    "a bad size": Case(OK + CHUNKED + b"\r\nx\r\n", closes=True, opens=AGAIN),
    "a bad size later": Case(OK + CHUNKED + b"\r\n5\r\nhello\r\nx\r\n", closes=True, opens=AGAIN),
    "a negative size": Case(
        OK + CHUNKED + b"\r\n-5\r\nhello\r\n",
        closes=True,
        why="both refuse it, requests later",
        ours=Answer(200, {"transfer-encoding": "chunked"}, b"", whole=False),
        opens=AGAIN,
    ),
    "a chunk too long": Case(OK + CHUNKED + b"\r\n5\r\nhello!\r\n0\r\n\r\n", closes=True, opens=AGAIN),
    "surplus": Case(OK + HELLO + OK + HELLO, why=LEFTOVER, opens=(2, 1)),
    "surplus, nothing before": Case(
        OK + b"Content-Length: 0\r\n\r\nmore", why=LEFTOVER, opens=(2, 1)
    ),
    "surplus, chunked": Case(OK + CHUNKED + b"\r\n" + BODY + OK, why=LEFTOVER, opens=(2, 1)),
}  # fmt: skip


def asked_twice(
    make: Callable[[bool | str], Any], server: Server, verify: bool | str
) -> tuple[list[Answer], int]:
    """Read the same answer twice with a client. Return the answers and the number of connections."""
    before = server.so_far()
    client = make(verify)
    answers = []
    for _ in range(2):
        answers.append(client(server.url))
        if server.closes:
            server.all_closed()
    client.close()
    return answers, server.so_far() - before


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of requests, when its answers break off
@pytest.mark.parametrize("name", CASES)
def test_an_answer_is_read_as_requests_reads_it(server: Server, certificate: Path, name: str) -> None:
    case = CASES[name]
    server.answer, server.closes, server.early = case.raw, case.closes, False
    ours, our_count = asked_twice(Lean, server, str(certificate))
    theirs, their_count = asked_twice(Stock, server, str(certificate))
    assert ours[0] == ours[1]
    assert (our_count, their_count) == case.opens
    if case.why and case.ours is not NONE:
        assert ours[0] == case.ours != theirs[0]
    elif case.why and case.opens == (2, 1) and ours[0] != NONE:
        assert ours[0] == theirs[0]
    elif case.why:
        assert ours[0] == NONE != theirs[0]
    else:
        assert ours == theirs


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("server", ["plain"], indirect=True)
def test_an_answer_that_comes_before_the_request_was_read(server: Server, certificate: Path) -> None:
    """And the connection is then reset, with what is unread of the request."""
    server.answer = b"HTTP/1.1 413 Too Large\r\nConnection: close\r\n" + HELLO
    server.closes = server.early = True
    try:
        client = Lean()
        for size in (1000, 32 * 1024 * 1024):
            answer = client(server.url, b"x" * size)
            assert (answer.status, answer.body, answer.whole) == (413, b"hello", True)
            server.all_closed()
        client.close()
    finally:
        server.early = False


class Pieces:
    """A socket that gives what it is told to."""

    def __init__(self, *pieces: bytes) -> None:
        self.sock: Any = self
        self.pieces = list(pieces)

    def recv(self, size: int) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""


@pytest.mark.parametrize("head", [b"HTTP/1.1 103 Hints\r\nA: b\r\n\r\n" * 2 + OK + HELLO])
def test_a_head_is_the_same_however_it_comes(head: bytes) -> None:
    for at in range(len(head) + 1):
        response = read_response(Pieces(*(piece for piece in (head[:at], head[at:]) if piece)))
        assert (response.status, response.headers) == (200, {"content-length": "5"})
        assert b"".join(iter(response.read1, b"")) == b"hello"


def test_a_head_in_many_pieces_takes_time_in_proportion() -> None:
    began = time.process_time()
    with pytest.raises(MalformedResponse):
        read_response(Pieces(OK, *[b"a: b\r\n" for _ in range(20_000)]))
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize("at_once", [True, False])
def test_heads_before_the_answer_without_end_are_no_answer(at_once: bool) -> None:
    head = b"HTTP/1.1 100 Continue\r\n\r\n"
    some, many = head * MAX_INTERIM, head * (MAX_INTERIM + 1)
    assert read_response(Pieces(some, OK + HELLO)).status == 200
    with pytest.raises(MalformedResponse):
        read_response(Pieces(*([many] if at_once else [head] * (MAX_INTERIM + 1)), OK + HELLO))


def test_a_response_that_is_given_up_before_the_pool_knows_of_it_is_closed() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(OK + HELLO)
        wire = Pieces()
        wire.sock = ours
        response = read_response(wire)
        response.close()
        response.close()
        assert response.read1() == b""
        assert ours.fileno() == -1


@pytest.mark.parametrize("server", ["plain"], indirect=True)
def test_a_pool_that_is_retired_keeps_no_connection(server: Server) -> None:
    """Idle connections close at once, those in use after their call. The pool still takes requests."""
    server.answer, server.closes = OK + CHUNKED + b"\r\n" + BODY, False
    client = Lean()
    busy = client.post(server.url, b"{}", {})
    assert client(server.url).body == b"hello"
    client.http.retire()
    deadline = time.monotonic() + SECONDS
    while server.opened - server.closed > 1 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert server.opened - server.closed == 1
    assert drained(busy.response, busy.read, busy.release, busy.close).body == b"hello"
    assert client(server.url).body == b"hello"
    server.all_closed()
    assert server.opened == server.closed
    client.close()
