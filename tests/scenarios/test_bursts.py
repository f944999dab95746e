"""Opens more streams of one key at once than it may hold threads: they take turns, and others are served."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack

import pytest
from kit.gateways import KEY, UNLIMITED, StartGateway
from kit.servers import Gateway
from kit.waiting import until
from kit.wire import TIMEOUT, head

from flask_gateway.guards.inflight import SHARE

pytestmark = pytest.mark.live

BURST = "k-burst-0123456789abcdef"
THREADS = 8
#: The threads that one of several keys may hold; two are kept for ``/health`` and the like.
OF_ONE = int((THREADS - 2) * SHARE)
STREAMS = 40


@pytest.fixture(scope="module")
def server(start_gateway: StartGateway) -> Gateway:
    gateway = start_gateway(
        key=f"{KEY},{BURST}",
        GATEWAY_WORKERS="1",
        GATEWAY_THREADS=str(THREADS),
        GATEWAY_UPSTREAMS="quick=mock://local?latency_ms=50&tokens=3;slow=mock://local?latency_ms=60000;mock=mock://local",
        GATEWAY_RATE_LIMIT_PER_MINUTE=UNLIMITED,
    )
    gateway.key = KEY
    return gateway


def request(model: str, *, stream: bool = True) -> bytes:
    body = b'{"model":"%b","stream":%b,"messages":[{"role":"user","content":"x"}]}' % (
        model.encode(),
        b"true" if stream else b"false",
    )
    return head(80, "/v1/chat/completions", BURST, "Connection: close", f"Content-Length: {len(body)}") + body


def opened(stack: ExitStack, port: int, sent: bytes) -> socket.socket:
    sock = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
    sock.settimeout(TIMEOUT)
    sock.sendall(sent)
    return sock


def whole(sock: socket.socket) -> bytes:
    parts = []
    while part := sock.recv(65536):
        parts.append(part)
    return b"".join(parts)


def test_streams_beyond_a_keys_share_wait_for_their_turn_and_each_is_answered_once(server: Gateway):
    with ExitStack() as stack:
        made = [opened(stack, server.port, request("quick/m")) for _ in range(STREAMS)]
        assert server.chat("mock").status == 200  # another key's
        answers = [whole(sock) for sock in made]
    assert {answer[:15] for answer in answers} == {b"HTTP/1.1 200 OK"}
    assert all(answer.count(b"[DONE]") == 1 and answer.endswith(b"0\r\n\r\n") for answer in answers)
    assert until(lambda: server.stderr.count('"stream":true') == STREAMS)  # a line of the log for each
    assert 'reason="share"' not in server.ask("GET", "/metrics").body.decode()


def test_calls_in_one_piece_beyond_a_keys_share_are_refused_at_once(server: Gateway):
    with ExitStack() as stack:
        held = [opened(stack, server.port, request("slow/m", stream=False)) for _ in range(OF_ONE)]
        assert until(lambda: whole(opened(stack, server.port, request("mock", stream=False)))[9:12] == b"503")
        assert server.chat("mock").status == 200
        assert len(held) == OF_ONE


def test_a_stream_whose_caller_leaves_while_it_waits_is_not_sent_and_holds_up_none(server: Gateway):
    with ExitStack() as stack:
        held = [opened(stack, server.port, request("slow/m")) for _ in range(OF_ONE)]
        time.sleep(0.5)
        waiting = [opened(stack, server.port, request("quick/m")) for _ in range(10)]
        time.sleep(0.5)
        assert server.chat("mock").status == 200
        for sock in [*waiting[::2], *held]:
            sock.close()
        answers = [whole(sock) for sock in waiting[1::2]]
    assert {answer[:15] for answer in answers} == {b"HTTP/1.1 200 OK"}
