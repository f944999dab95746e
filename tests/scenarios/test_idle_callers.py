"""Connects idle callers without nginx in front: the next caller is still served."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from kit.gateways import KEY, UNLIMITED, StartGateway
from kit.servers import Gateway
from kit.waiting import until
from kit.wire import TIMEOUT, head, send_raw

from flask_gateway.guards.inflight import SHARE

pytestmark = pytest.mark.live

THREADS = 8
REQUEST = f"GET /v1/models HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nConnection: close\r\n\r\n".encode()


@pytest.fixture(scope="module")
def server(start_gateway: StartGateway) -> Gateway:
    return start_gateway(GATEWAY_THREADS=str(THREADS), GATEWAY_RATE_LIMIT_PER_MINUTE=UNLIMITED)


@contextmanager
def callers(port: int, count: int, say: bytes) -> Iterator[list[socket.socket]]:
    """Open a number of connections and send these bytes on each."""
    with ExitStack() as stack:
        made = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(count)]
        for sock in made:
            sock.settimeout(TIMEOUT)
            sock.sendall(say)
        yield made


def waits(gateway: Gateway) -> float:
    """The time that the next caller's request takes, seconds."""
    began = time.monotonic()
    assert gateway.ask("GET", "/v1/models").status == 200
    return time.monotonic() - began


def test_two_hundred_callers_who_do_not_close_block_no_one(server: Gateway):
    """After a response with ``Connection: close`` the callers should close, and do not."""
    with callers(server.port, 200, REQUEST) as made:
        for sock in made:
            assert sock.recv(65536).startswith(b"HTTP/1.1 200")
        waited = [waits(server) for _ in range(9)]
        print(
            f"\nthe next caller waited {1000 * sorted(waited)[4]:.1f} ms, at most {1000 * max(waited):.1f} ms"
        )
        assert sorted(waited)[4] < 0.05
    assert "WORKER TIMEOUT" not in server.stderr


@pytest.mark.parametrize("say", [b"", b"G", REQUEST[:-2]])
def test_unfinished_requests_hold_no_thread(server: Gateway, say: bytes):
    """Twenty times as many callers as threads wait in the middle of a head. Others are served meanwhile, and
    then each of them."""
    with callers(server.port, 20 * 2 * THREADS, say) as made:
        waited = [waits(server) for _ in range(5)]
        print(f"\nthe next waited {1000 * max(waited):.0f} ms behind {len(made)} on {2 * THREADS} threads")
        for sock in made[::8]:
            sock.sendall(REQUEST[len(say) :])
            assert sock.recv(65536).startswith(b"HTTP/1.1 200")
    assert "WORKER TIMEOUT" not in server.stderr


def test_slow_bodies_leave_threads_to_other_keys(start_gateway: StartGateway):
    """One key's bodies stop in the middle: it gets its share of the threads, and the rest are refused."""
    gateway = start_gateway(
        key=f"{KEY},k-slow-0123456789abcdef",
        GATEWAY_WORKERS="1",
        GATEWAY_THREADS=str(THREADS),
        GATEWAY_UPSTREAMS="mock=mock://local",
        GATEWAY_RATE_LIMIT_PER_MINUTE=UNLIMITED,
    )
    gateway.key = KEY
    slow = head(gateway.port, "/v1/chat/completions", "k-slow-0123456789abcdef", "Content-Length: 900") + b"{"
    calls = THREADS - 2  # the others are kept for /health and the like
    share = int(calls * SHARE)
    with callers(gateway.port, 3 * THREADS, slow) as made:
        assert until(lambda: len(select.select(made, [], [], 0)[0]) == len(made) - share)
        refused = select.select(made, [], [], 0)[0]
        assert {sock.recv(65536)[:12] for sock in refused} == {b"HTTP/1.1 503"}
        assert [gateway.chat("mock").status for _ in range(5)] == [200] * 5
        assert gateway.ask("GET", "/health").status == 200
        assert not select.select([sock for sock in made if sock not in refused], [], [], 0)[0]
    assert until(lambda: gateway.chat("mock").status == 200)


def test_chunks_of_a_byte_are_refused_and_say_so(server: Gateway):
    sent = head(server.port, "/v1/chat/completions", KEY, "Transfer-Encoding: chunked")
    answer = send_raw(server.port, sent + b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n")
    assert answer.status == 400
    assert "larger chunks" in answer.error["message"]


def test_a_slow_request_head_is_awaited_while_threads_are_free(server: Gateway):
    with callers(server.port, 1, REQUEST[:10]) as (sock,):
        time.sleep(1.5)
        sock.sendall(REQUEST[10:])
        assert sock.recv(65536).startswith(b"HTTP/1.1 200")
    assert until(lambda: waits(server) < 1)
