"""Tests the client of the doctor: times of events, refusals without a body, connections that are kept."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from flask_gateway.cli.doctor.probe_client import ProbeClient

OK = b"HTTP/1.1 200 OK\r\nX-Name: value\r\nContent-Length: 2\r\n\r\nok"
Server = Callable[..., ProbeClient]


@pytest.fixture
def server() -> Iterator[Server]:
    """Start a server of one connection that sends these answers in turn. Returns a client of it."""
    threads: list[threading.Thread] = []
    over = threading.Event()

    def start(*answers: bytes) -> ProbeClient:
        listener = socket.create_server(("127.0.0.1", 0))

        def serve() -> None:
            with listener, listener.accept()[0] as peer:
                for answer in answers:
                    peer.recv(65536)
                    peer.sendall(answer)
                if not answers:
                    over.wait(30)

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        return ProbeClient(f"http://127.0.0.1:{listener.getsockname()[1]}/base/", "key")

    yield start
    over.set()
    for thread in threads:
        thread.join()


def test_an_answer_has_its_headers_in_lower_case(server: Server) -> None:
    answer = server(OK).get("/health")
    assert (answer.status, answer.headers["x-name"], answer.body) == (200, "value", b"ok")


def test_a_connection_that_is_kept_is_noticed(server: Server) -> None:
    assert server(OK, OK).twice("/health")
    assert not server(OK.replace(b"X-Name: value", b"Connection: close")).twice("/health")


def test_events_are_timed_as_they_arrive(server: Server) -> None:
    body = b"data: 1\n\ndata: 2\n\n"
    answer = server(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)).stream("m")
    assert answer.body == body
    assert len(answer.arrivals) == 2
    assert list(answer.arrivals) == sorted(answer.arrivals)


def test_a_body_that_is_announced_is_refused_or_awaited(server: Server) -> None:
    refused = server(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n").announce(1 << 30, 30)
    assert refused is not None
    assert refused.status == 413
    assert server().announce(1 << 30, 0.1) is None


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://localhost:1", True),
        ("http://[::1]:1", True),
        ("https://a.test", False),
        ("http://10.0.0.1", False),
    ],
)
def test_which_urls_are_of_this_machine(url: str, local: bool) -> None:
    assert ProbeClient(url).local is local
