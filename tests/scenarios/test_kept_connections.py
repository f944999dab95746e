"""Keeps callers' connections: idle ones hold nothing, and no close crosses a request."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from http.client import HTTPConnection

import pytest
from kit.exchanges import open_sockets
from kit.gateways import KEY, UNLIMITED, StartGateway
from kit.kept_clients import BODY, POST, run_clients
from kit.nginx import Nginx, without_rates
from kit.servers import Gateway
from kit.waiting import until
from kit.wire import TIMEOUT, head

pytestmark = pytest.mark.live

THREADS = 8
HEADERS = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
#: Requests of each long run under reloads.
LOAD = int(os.environ.get("KEPT_REQUESTS", "100000"))


def request(name: str, *lines: str) -> bytes:
    first = ("GET /v1/models HTTP/1.1", "Host: x", f"X-API-Key: {KEY}", f"X-Request-Id: {name}")
    return "\r\n".join([*first, *lines, "", ""]).encode()


@pytest.fixture(scope="module")
def server(start_gateway: StartGateway) -> Gateway:
    return start_gateway(
        GATEWAY_THREADS=str(THREADS),
        GATEWAY_WORKERS="1",
        GATEWAY_UPSTREAMS="mock=mock://local",
        GATEWAY_RATE_LIMIT_PER_MINUTE=UNLIMITED,
    )


@contextmanager
def connected(port: int, count: int = 1) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        made = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), TIMEOUT)) for _ in range(count)
        ]
        yield made


def answers(sock: socket.socket, count: int) -> bytes:
    """Read so many answers."""
    received = b""
    while received.count(b"HTTP/1.1 ") < count or not received.endswith(b"}"):
        if not (data := sock.recv(65536)):
            raise ConnectionResetError(received)
        received += data
    return received


def is_kept(sock: socket.socket) -> bool:
    """Send a first request. Returns whether the connection stays open: not while all threads are in use."""
    sock.sendall(request("first"))
    return b"\r\nConnection: keep-alive\r\n" in answers(sock, 1)


@contextmanager
def kept_ones(port: int, count: int) -> Iterator[list[socket.socket]]:
    """So many connections that stay open."""
    with ExitStack() as stack:
        kept: list[socket.socket] = []

        def enough() -> bool:
            while len(kept) < count:
                sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), TIMEOUT))
                if not is_kept(sock):
                    return False  # all threads are in use for a moment
                kept.append(sock)
            return True

        assert until(enough)
        yield kept


def one_answer(sock: socket.socket) -> bytes:
    """The answer to one more request; empty if the connection is closed."""
    with suppress(ConnectionError):
        sock.sendall(request("more"))
        return answers(sock, 1)
    return b""


def last_answer(sock: socket.socket) -> bytes:
    """Send a request to a worker that stops. Empty if the connection is closed: this test was too slow."""
    received = b""
    with suppress(ConnectionError):
        sock.sendall(request("last"))
        while data := sock.recv(65536):
            received += data
    return received


def test_answers_streams_and_refusals_share_a_connection(server: Gateway) -> None:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT)
    with closing(connection):
        connection.connect()
        sock = connection.sock
        for changed in ({}, {"stream": True}, {"model": "nothing-like-it"}, {"messages": 7}, {}) * 10:
            connection.request(*POST, json.dumps(json.loads(BODY) | changed), HEADERS)
            response = connection.getresponse()
            assert response.read()
            assert response.headers["connection"] == "keep-alive"
            assert connection.sock is sock


def test_pipelined_requests_are_answered_in_their_order(server: Gateway) -> None:
    names = [f"pipelined-{number}" for number in range(30)]
    sent = b"".join(request(name) for name in names)
    with connected(server.port) as (sock,):
        sock.sendall(sent[:-40])
        first = answers(sock, len(names) - 1)
        sock.sendall(sent[-40:])
        said = first + answers(sock, 1)
    assert re.findall(rb"x-request-id: (\S+)\r\n", said) == [name.encode() for name in names]


@pytest.mark.parametrize(
    "sent",
    [
        request("closing", "Connection: close"),
        request("naming", "Connection: x-request-id"),
        request("unread", "Content-Length: 5"),
        request("stranger").replace(KEY.encode(), b"no-such-key-0123456789"),
        head(0, POST[1], KEY, "Transfer-Encoding: chunked")
        + f"{len(BODY):x}\r\n{BODY}\r\n0\r\n\r\n".encode(),
    ],
    ids=["close", "another-word", "unread-body", "no-key", "chunked"],
)
def test_no_request_follows_one_whose_end_is_in_doubt(server: Gateway, sent: bytes) -> None:
    with connected(server.port) as (sock,):
        sock.sendall(sent + request("canary-behind-it"))
        received = b""
        while data := sock.recv(65536):
            received += data
    assert received.count(b"HTTP/1.1 ") == 1
    assert b"\r\nConnection: close\r\n" in received
    assert b"canary-behind-it" not in received


@pytest.mark.parametrize("say", [b"", b"GET", request("half")[:-2]], ids=["idle", "begun", "half"])
def test_kept_connections_hold_no_thread(server: Gateway, say: bytes) -> None:
    """Ten times as many callers as threads keep their connections, and begin another request or not."""
    with kept_ones(server.port, 6 * THREADS) as made:
        for sock in made:
            sock.sendall(say)
        assert [server.chat("mock").status for _ in range(5)] == [200] * 5
        for sock in made[::8]:
            sock.sendall(request("half")[len(say) :])
            assert answers(sock, 1).startswith(b"HTTP/1.1 200")


def test_callers_that_leave_are_noticed(server: Gateway) -> None:
    (worker,) = server.workers

    def sockets() -> int:
        return len(open_sockets(worker))

    with kept_ones(server.port, 40):
        assert sockets() >= 40
    assert until(lambda: sockets() < 40)


def test_a_connection_is_not_kept_for_ever(server: Gateway) -> None:
    def requests_until_close() -> int:
        with connected(server.port) as (sock,):
            count = 1
            while is_kept(sock):
                count += 1
                assert count < 1000
            assert sock.recv(1) == b""
        return count

    assert until(lambda: requests_until_close() > 50)


@pytest.mark.parametrize("how", ["reload", pytest.param("stop", marks=pytest.mark.long)])
def test_a_worker_that_stops_answers_what_is_on_its_way(start_gateway: StartGateway, how: str) -> None:
    gateway = start_gateway(GATEWAY_WORKERS="1", GATEWAY_UPSTREAMS="mock=mock://local")
    with connected(gateway.port, 3) as made:
        for sock in made:
            assert until(lambda sock=sock: is_kept(sock))
        gateway.hang_up() if how == "reload" else gateway.terminate()
        # It stops when it takes no new connections any more; until then an answer promises to stay open.
        while b"\r\nConnection: keep-alive\r\n" in (first := one_answer(made[0])):
            time.sleep(0.2)  # so that the connection does not reach its last request meanwhile
        for said in (first, last_answer(made[1])):
            assert not said or said.startswith(b"HTTP/1.1 200"), said
            assert not said or b"\r\nConnection: close\r\n" in said
        assert made[2].recv(1) == b"", "an idle connection is closed, too"


def reloaded(gateway: Gateway, done: Callable[[], bool], most: int) -> int:
    """Replace the workers again and again until that is true. Returns how often."""
    count = 0
    while not done() and count < most:
        time.sleep(1)
        gateway.reload()
        count += 1
    return count


@pytest.fixture(scope="module")
def loaded(start_gateway: StartGateway) -> Gateway:
    return start_gateway(GATEWAY_UPSTREAMS="mock=mock://local", GATEWAY_RATE_LIMIT_PER_MINUTE="0")


@pytest.fixture(scope="module")
def before(loaded: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    made = Nginx(tmp_path_factory.mktemp("nginx"), f"127.0.0.1:{loaded.port}", without_rates)
    yield made
    made.stop()


def lost_none(gateway: Gateway, port: int, clients: int, requests: int, reloads: int, pauses: float) -> None:
    """Assert that no request is lost while the workers are replaced so often."""
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run_clients, port, KEY, clients, requests // clients, stop, pauses)
        count = reloaded(gateway, running.done, reloads)
        if not pauses:
            stop.set()
        report = running.result()
    print(f"\n{count} reloads, {report}")
    assert count
    assert report.lost == []
    assert {*report.statuses} == {200}
    assert report.connections < sum(report.statuses.values()) / 5


def test_a_reload_under_load_loses_no_request(loaded: Gateway, before: Nginx) -> None:
    lost_none(loaded, before.port, 2, LOAD, 1, 0.0)


@pytest.mark.soak
@pytest.mark.parametrize("way", ["straight", "nginx"])
def test_reloads_under_load_lose_no_request(loaded: Gateway, before: Nginx, way: str) -> None:
    """With pauses on both sides of the time after which idle connections are closed."""
    port = loaded.port if way == "straight" else before.port
    lost_none(loaded, port, 16, LOAD, LOAD, 3.0)
