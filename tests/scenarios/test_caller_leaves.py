"""Hangs up at any moment: the upstream connection closes within a second, and no failure is counted."""

from __future__ import annotations

import json
import random
import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest
from kit.gateways import KEY, StartGateway
from kit.servers import Gateway, Upstream
from kit.waiting import until
from kit.wire import TIMEOUT, head

pytestmark = pytest.mark.live

#: Concurrent calls, and how many of them leave. A leaving call frees its lease only a moment later.
SLOTS, LEAVERS = 12, 6


@pytest.fixture(scope="module")
def leaving(start_gateway: StartGateway, scripted: Upstream) -> Gateway:
    """A gateway on which every counted failure and every leaked lease would show."""
    return start_gateway(
        GATEWAY_WORKERS="1",
        GATEWAY_UPSTREAMS=f"one={scripted.url};mock=mock://local?latency_ms=5000",
        GATEWAY_DEFAULT_UPSTREAM="one",
        GATEWAY_UPSTREAM_ONE_MAX_IN_FLIGHT=str(SLOTS),
        GATEWAY_MAX_CONCURRENT_PER_KEY=str(SLOTS),
        GATEWAY_RATE_LIMIT_PER_MINUTE="0",
        GATEWAY_CIRCUIT_BREAKER_MAX_FAILURES="1",
        GATEWAY_REQUEST_TIMEOUT_SECONDS="20",
        GATEWAY_ANSWER_TIMEOUT_SECONDS="20",
    )


class Window(NamedTuple):
    """The phase of the upstream's answer in which the caller leaves."""

    behaviour: str
    stream: bool
    headers: tuple[str, ...] = ()


WINDOWS = [
    Window("never", stream=False),
    Window("never", stream=True),
    Window("head-drip", stream=True),
    Window("stall,after=2", stream=False),
    Window("murmur", stream=False),
    Window("drip,pause=0.02", stream=False),
    Window("murmur", stream=True),
    Window("stall,after=2", stream=True),
    Window("ok,tokens=2000,pause=0.01", stream=True),
    Window("ok,tokens=2000,pause=0.01", stream=True, headers=("x-gateway-stream: whole",)),
]


def leave(sock: socket.socket, how: str) -> None:
    if how == "reset":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if how == "half":
        sock.shutdown(socket.SHUT_WR)
    else:
        sock.close()


def seen(upstream: Upstream, name: str) -> dict[str, Any] | None:
    """The upstream's record of the request of that name."""
    found = [entry for entry in upstream.requests() if f"try={name}" in entry["body"]]
    return found[-1] if found else None


class Left(NamedTuple):
    """A caller that left, and when."""

    name: str
    window: Window
    how: str
    at: float


def ask_and_leave(gateway: Gateway, upstream: Upstream, number: int) -> Left:
    """Send a call, wait until it reaches the upstream and a random time longer, then hang up."""
    chance = random.Random(number)
    window, name = WINDOWS[number % len(WINDOWS)], f"{number}x{chance.getrandbits(32):x}"
    how = ("close", "reset", "half")[number // len(WINDOWS) % 3]
    body = {"model": f"one/{window.behaviour},try={name}", "stream": window.stream}
    encoded = json.dumps({**body, "messages": [{"role": "user", "content": "Hello"}]}).encode()
    lines = (f"Content-Length: {len(encoded)}", f"x-request-id: {name}", *window.headers)
    sock = socket.create_connection(("127.0.0.1", gateway.port), TIMEOUT)
    sock.sendall(head(gateway.port, "/v1/chat/completions", KEY, *lines) + encoded)
    assert until(lambda: seen(upstream, name), 10), f"{window} never came to the upstream"
    time.sleep(chance.uniform(0, 0.3))
    left = Left(name, window, how, time.monotonic())
    leave(sock, how)
    if how == "half":
        time.sleep(0.5)
        sock.close()
    return left


def check(gateway: Gateway, upstream: Upstream, lefts: list[Left]) -> None:
    """Assert that the upstream connection closed in time, and that log and breaker agree on the reason."""
    for left in lefts:
        entry = until(lambda left=left: (found := seen(upstream, left.name)) and found["ended"] and found, 5)  # type: ignore[misc]
        assert entry, f"the upstream still answers {left}"
        assert entry["ended"] == "peer left", left
        assert entry["ended_at"] - left.at < 1.0, left
        logged = gateway.logged(left.name)
        assert (logged["status"], logged["outcome"], logged["upstream"]) == (499, "ignored", "one"), left
    names = [left.name for left in lefts]
    assert all(sum(name in entry["body"] for entry in upstream.requests()) == 1 for name in names)
    blameless(gateway)


def blameless(gateway: Gateway) -> None:
    """Assert that the breaker has counted nothing and that all leases are free."""
    breakers = gateway.ask("GET", "/v1/circuit-breakers").json["data"]
    assert {(one["state"], one["failures"]) for one in breakers} == {("CLOSED", 0)}
    with ThreadPoolExecutor(SLOTS) as pool:
        answers = list(pool.map(lambda _: gateway.chat("one/ok,first=0.1").status, range(SLOTS)))
    assert answers == [200] * SLOTS


def try_many(gateway: Gateway, upstream: Upstream, numbers: range) -> None:
    with ThreadPoolExecutor(LEAVERS) as pool:
        lefts = list(pool.map(lambda number: ask_and_leave(gateway, upstream, number), numbers))
    check(gateway, upstream, lefts)


@pytest.fixture
def watched(leaving: Gateway, upstream: Upstream) -> Iterator[tuple[Gateway, Upstream]]:
    """The gateway and the upstream. At the end no connection to the upstream is left."""
    yield leaving, upstream
    assert until(lambda: all(entry["ended"] for entry in upstream.requests()), 5)


def test_callers_leave_in_every_phase_in_every_way(watched: tuple[Gateway, Upstream]):
    try_many(*watched, range(3 * len(WINDOWS)))


@pytest.mark.soak
def test_callers_leave_five_hundred_times(watched: tuple[Gateway, Upstream]):
    for batch in range(10):
        watched[1].reset()
        try_many(*watched, range(1000 + 50 * batch, 1050 + 50 * batch))


def test_a_caller_leaves_while_the_mock_waits(leaving: Gateway):
    """The mock has no connection to close, but holds a thread and the caller's lease."""
    body = json.dumps({"model": "mock", "messages": [{"role": "user", "content": "Hello"}]}).encode()
    lines = (f"Content-Length: {len(body)}", "x-request-id: left-the-mock")
    with socket.create_connection(("127.0.0.1", leaving.port), TIMEOUT) as sock:
        sock.sendall(head(leaving.port, "/v1/chat/completions", KEY, *lines) + body)
        time.sleep(0.2)
    left = time.monotonic()
    logged = leaving.logged("left-the-mock")
    assert time.monotonic() - left < 4  # the mock answers after 5
    assert (logged["status"], logged["outcome"], logged["code"]) == (499, "ignored", "client_closed_request")


def test_no_fallback_is_tried_for_a_caller_that_has_left(leaving: Gateway, upstream: Upstream):
    """The route has a fallback, but the caller has gone."""
    body = {"model": "one/never,try=primary", "fallbacks": ["one/ok,try=fallback"]}
    encoded = json.dumps({**body, "messages": [{"role": "user", "content": "Hello"}]}).encode()
    lines = (f"Content-Length: {len(encoded)}", "x-request-id: left-with-fallback")
    with socket.create_connection(("127.0.0.1", leaving.port), TIMEOUT) as sock:
        sock.sendall(head(leaving.port, "/v1/chat/completions", KEY, *lines) + encoded)
        assert until(lambda: seen(upstream, "primary"), 5)
    assert leaving.logged("left-with-fallback")["status"] == 499
    assert len(upstream.requests()) == 1


def test_a_pipelined_request_does_not_look_like_a_caller_that_left(leaving: Gateway):
    """A second request waits unread on the socket. It does not mean that the caller has left."""
    body = json.dumps(
        {"model": "one/ok,first=0.3", "messages": [{"role": "user", "content": "Hello"}]}
    ).encode()
    request = head(leaving.port, "/v1/chat/completions", KEY, f"Content-Length: {len(body)}") + body
    with socket.create_connection(("127.0.0.1", leaving.port), TIMEOUT) as sock:
        sock.sendall(request + request)
        assert sock.recv(100).startswith(b"HTTP/1.1 200 ")
