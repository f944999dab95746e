"""Connects idle callers without nginx in front: the next caller is still served."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from kit.gateways import KEY, UNLIMITED, StartGateway
from kit.servers import Gateway
from kit.waiting import until
from kit.wire import TIMEOUT

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


@pytest.mark.parametrize("say", [b"G", b"POST /v1/models HTTP/1.1\r\nHost: x\r\n"])
def test_unfinished_requests_make_room_for_others(server: Gateway, say: bytes):
    """An unfinished request head holds a thread until another call needs it.

    Twice as many such callers as threads connect. They must not hold the threads for the thirty seconds of
    the socket timeout, twice.
    """
    with callers(server.port, 4 * THREADS, say) as made:
        time.sleep(0.2)
        waited = waits(server)
        print(f"\nthe next waited {waited:.2f} s behind {len(made)} on {2 * THREADS} threads")
        assert waited < 4
    assert "WORKER TIMEOUT" not in server.stderr


def test_a_slow_request_head_is_awaited_while_threads_are_free(server: Gateway):
    with callers(server.port, 1, REQUEST[:10]) as (sock,):
        time.sleep(1.5)
        sock.sendall(REQUEST[10:])
        assert sock.recv(65536).startswith(b"HTTP/1.1 200")
    assert until(lambda: waits(server) < 1)
