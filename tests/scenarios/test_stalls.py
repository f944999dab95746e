"""No caller delays others by more than 100 ms, on a machine that has nothing else to do: ``make soak``."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from kit.gateways import KEY, UNLIMITED, StartGateway
from kit.health_probe import probing
from kit.load import Asking
from kit.servers import Gateway, Upstream
from kit.wire import TIMEOUT, head, open_stream

pytestmark = [pytest.mark.live, pytest.mark.soak]

SLOW = "k-slow-0123456789abcdef"
#: The longest delay that a caller may cause, seconds.
LONGEST = 0.1
HALF_A_HEAD = b"GET /health HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(scope="module")
def server(start_gateway: StartGateway, scripted: Upstream) -> Gateway:
    gateway = start_gateway(
        key=f"{KEY},{SLOW}",
        GATEWAY_WORKERS="1",
        GATEWAY_UPSTREAMS=f"mock=mock://local;scripted={scripted.url}",
        GATEWAY_RATE_LIMIT_PER_MINUTE=UNLIMITED,
    )
    gateway.key = KEY
    return gateway


@contextmanager
def half_sent(port: int, count: int, say: bytes) -> Iterator[None]:
    with ExitStack() as stack:
        for _ in range(count):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT))
            sock.sendall(say)
        yield


def post(port: int, sent: bytes) -> int:
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as sock:
        try:
            sock.sendall(sent)
        except OSError:  # it was refused before its end
            return 400
        return int(sock.recv(65536)[9:12])


@contextmanager
def health(port: int, seconds: float = 4.0) -> Iterator[None]:
    """Probe ``/health`` without and then with an attack, and compare: others may use the processors, too."""
    before = json.loads(probing(port, 3.0).communicate()[0])
    probe = probing(port, seconds)
    try:
        yield
        during = json.loads(probe.communicate()[0])
    finally:
        probe.kill()
    print(f"\nat most {during['max'] * 1000:.0f} ms, {before['max'] * 1000:.0f} ms before")
    assert not during["failures"]
    assert during["max"] - before["max"] < LONGEST


@pytest.mark.parametrize(("count", "say"), [(500, HALF_A_HEAD), (1500, b"")])
def test_half_sent_heads_delay_nobody(server: Gateway, count: int, say: bytes):
    with ExitStack() as stack, health(server.port):
        stack.enter_context(half_sent(server.port, count, say))


def test_half_sent_bodies_delay_nobody(server: Gateway):
    say = head(server.port, "/v1/chat/completions", SLOW, "Content-Length: 5000") + b"{"
    with ExitStack() as stack, health(server.port):
        stack.enter_context(half_sent(server.port, 200, say))
        assert server.chat("mock").status == 200


@pytest.mark.parametrize("callers", [4, 12])
def test_bodies_in_chunks_of_a_byte_delay_nobody(server: Gateway, callers: int):
    sent = head(server.port, "/v1/chat/completions", SLOW, "Transfer-Encoding: chunked")
    sent += b"1\r\nx\r\n" * 200_000 + b"0\r\n\r\n"
    with ExitStack() as stack, health(server.port):
        for _ in range(callers):
            stack.enter_context(Asking(lambda: post(server.port, sent), 0.01))


def test_events_of_15_megabytes_delay_nobody(server: Gateway):
    def stream() -> int:
        with open_stream(server.port, SLOW, "scripted/huge-event,size=15000000,times=2") as large:
            large.read()
            return large.status

    with ExitStack() as stack, health(server.port, 6.0):
        for _ in range(2):
            stack.enter_context(Asking(stream, 0))
