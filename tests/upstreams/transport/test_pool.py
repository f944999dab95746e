"""Tests which connections are used again, how long they idle, and how many are kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kit.two_clients import BODY, CHUNKED, HELLO, NONE, OK, SECONDS, Lean, Server

from flask_gateway.upstreams.transport import pool


def test_a_connection_serves_many(server: Server, certificate: Path) -> None:
    server.answer, server.closes = OK + CHUNKED + b"\r\n" + BODY, False
    before = server.so_far()
    client = Lean(str(certificate))
    for _ in range(20):
        assert client(server.url).body == b"hello"
    client.close()
    assert server.so_far() - before == 1


@pytest.mark.parametrize("server", ["plain"], indirect=True)
def test_late_bytes_are_not_the_next_answer(server: Server, monkeypatch: Any) -> None:
    """After the end of an answer, while its connection lies in the pool."""
    server.answer, server.closes = OK + HELLO, False
    before = server.so_far()
    client = Lean()
    assert client(server.url).body == b"hello"
    server._socks[-1].sendall(OK + b"Content-Length: 4\r\n\r\nevil")
    time.sleep(0.02)
    assert client(server.url).body == b"hello"
    client.close()
    assert server.so_far() - before == 2


@pytest.mark.parametrize("server", ["plain", "tls"], indirect=True)
@pytest.mark.parametrize(
    ("begun", "asked"), [(b"", 2), (b"H", 1), (OK[:-3], 1), (b"HTTP/1.1 100 Continue\r\n\r\n", 1)]
)
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_only_a_connection_that_said_nothing_was_stale(
    server: Server, certificate: Path, begun: bytes, asked: int, reset: bool
) -> None:
    """A request of which an answer has begun to come is not sent again."""
    server.answer, server.closes, server.early = OK + HELLO, False, False
    client = Lean(str(certificate))
    assert client(server.url).body == b"hello"
    server.heads.clear()
    server.answer, server.closes, server.early = begun, True, reset
    assert client(server.url) == NONE
    client.close()
    server.early = False
    assert len(server.heads) == asked


@pytest.mark.parametrize("server", ["plain", "tls"], indirect=True)
def test_connections_do_not_lie_idle_for_ever(server: Server, certificate: Path, monkeypatch: Any) -> None:
    """One burst must not cost descriptors here, and at the upstream, until the next."""
    monkeypatch.setattr(pool, "MOST_IDLE", 0.2)
    monkeypatch.setattr(pool, "BATCH", 2)
    server.answer, server.closes = OK + HELLO, False
    server.all_closed()
    before, client = server.closed, Lean(str(certificate))
    sources = [client.post(server.url, b"{}", {}) for _ in range(5)]
    for source in sources:
        assert source.read() == b"hello"
        source.close()
    deadline = time.monotonic() + SECONDS
    while server.closed < before + 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.closed == before + 5
    assert client(server.url).body == b"hello"
    client.close()


@pytest.mark.parametrize("server", ["plain"], indirect=True)
def test_a_connection_that_is_used_does_not_age(server: Server, monkeypatch: Any) -> None:
    monkeypatch.setattr(pool, "MOST_IDLE", 1.0)
    server.answer, server.closes = OK + HELLO, False
    before, client = server.so_far(), Lean()
    for _ in range(8):
        assert client(server.url).body == b"hello"
        time.sleep(0.2)
    client.close()
    assert server.so_far() - before == 1


@pytest.mark.parametrize("server", ["plain"], indirect=True)
@pytest.mark.parametrize(("first", "then", "kept"), [(1, 3, 3), (3, 1, 1)])
def test_how_many_are_kept_can_change(server: Server, first: int, then: int, kept: int) -> None:
    server.answer, server.closes = OK + HELLO, False
    client = Lean()
    client.http.resize(first)
    assert client(server.url).body == b"hello"
    client.http.resize(then)
    sources = [client.post(server.url, b"{}", {}) for _ in range(3)]
    for source in sources:
        assert source.read() == b"hello"
        source.close()
    (pool,) = client.http._adapter._pools.values()
    assert len(pool) == kept
    client.close()


class Timers:
    """Collects timers. Calls ``meanwhile`` once while it makes the first one."""

    def __init__(self) -> None:
        self.live: set[object] = set()
        self.meanwhile: Callable[[], None] = lambda: None

    def at(self, when: float, ring: Callable[[], None]) -> Any:
        made = SimpleNamespace()
        made.cancel = lambda: self.live.discard(id(made))
        self.live.add(id(made))
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        return made


class Idle:
    """A connection that is put back."""

    sock = object()
    idle_since = 0.0

    def let_go(self) -> None: ...

    def close(self) -> None: ...


def test_two_threads_that_put_back_at_once_leave_one_timer() -> None:
    timers = Timers()
    made: Any = pool.Pool(Idle, 8, timers)  # type: ignore[arg-type]
    timers.meanwhile = lambda: made.put_back(Idle())
    made.put_back(Idle())
    assert len(timers.live) == 1
    made.retire()
    assert not timers.live


def test_a_pool_retired_while_a_timer_is_made_leaves_none() -> None:
    timers = Timers()
    made: Any = pool.Pool(Idle, 8, timers)  # type: ignore[arg-type]
    timers.meanwhile = made.retire
    made.put_back(Idle())
    assert not timers.live
