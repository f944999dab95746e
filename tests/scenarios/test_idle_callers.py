"""Callers straight at the socket, without nginx, who do not do their part: the next one is served."""

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
    """So many connections on which this was said."""
    with ExitStack() as stack:
        made = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(count)]
        for sock in made:
            sock.settimeout(TIMEOUT)
            sock.sendall(say)
        yield made


def waits(gateway: Gateway) -> float:
    """How long the next caller does, seconds."""
    began = time.monotonic()
    assert gateway.ask("GET", "/v1/models").status == 200
    return time.monotonic() - began


def test_two_hundred_who_do_not_hang_up(server: Gateway):
    """After an answer that says ``Connection: close`` it is theirs to hang up, and they do not."""
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
def test_those_who_do_not_finish_make_room_for_others(server: Gateway, say: bytes):
    """A head that does not go on holds a thread, of which there are half as many as such callers, until
    another wants it: not for the thirty seconds of the socket's timeout, twice."""
    with callers(server.port, 4 * THREADS, say) as made:
        time.sleep(0.2)
        waited = waits(server)
        print(f"\nthe next waited {waited:.2f} s behind {len(made)} on {2 * THREADS} threads")
        assert waited < 4
    assert "WORKER TIMEOUT" not in server.stderr


def test_a_slow_head_is_waited_for_while_there_is_room(server: Gateway):
    with callers(server.port, 1, REQUEST[:10]) as (sock,):
        time.sleep(1.5)
        sock.sendall(REQUEST[10:])
        assert sock.recv(65536).startswith(b"HTTP/1.1 200")
    assert until(lambda: waits(server) < 1)
