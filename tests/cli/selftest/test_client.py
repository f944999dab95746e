"""Tests the client of the self-test: it says how an answer ended."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from flask_gateway.cli.selftest.client import ClientResponse, StreamEnd, ask

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 4\r\n\r\n"
Server = Callable[[bytes, bool], int]


@pytest.fixture
def server() -> Iterator[Server]:
    """Start a server that sends these bytes, and then closes or waits. Returns its port."""
    over, threads = threading.Event(), []

    def start(data: bytes, closes: bool) -> int:
        listener = socket.create_server(("127.0.0.1", 0))

        def serve() -> None:
            with listener, listener.accept()[0] as peer:
                peer.recv(65536)
                peer.sendall(data)
                if not closes:
                    over.wait(30)

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        return int(listener.getsockname()[1])

    yield start
    over.set()
    for thread in threads:
        thread.join()


def asked(port: int, patience: float = 30.0) -> ClientResponse:
    return ask(port, {"stream": True}, {"X": "y"}, patience)


def test_each_end_of_an_answer(server: Server) -> None:
    good = asked(server(HEAD + b"abcd", False))
    assert (good.status, good.body, good.end, good.streamed) == (200, b"abcd", StreamEnd.WHOLE, True)
    assert asked(server(HEAD + b"ab", True)).end is StreamEnd.BROKEN
    assert asked(server(b"", True)).status == 0


def test_an_answer_that_never_ends(server: Server) -> None:
    answer = asked(server(HEAD + b"ab", False), 0.2)
    assert (answer.end, answer.body) == (StreamEnd.NEVER, b"ab")
