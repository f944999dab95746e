"""Tests the main thread of a worker: what it counts, and what it does when nothing is left."""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from flask_gateway.guards.inflight import ThreadUsage
from flask_gateway.server import accept_loop
from flask_gateway.server.accept_loop import HEARTBEAT_PERIOD, AcceptLoop
from flask_gateway.server.client_connection import ClientConnection


class Config:
    is_ssl = False
    workers = 1
    worker_connections = 4
    threads = 4
    keepalive = 0
    worker_tmp_dir = None
    max_requests = 0
    max_requests_jitter = 0
    umask = 0
    uid, gid = os.geteuid(), os.getegid()


class Poller:
    def __init__(self) -> None:
        self.registered: list[Any] = []

    def register(self, sock: Any, events: int, data: Any) -> None:
        self.registered.append(sock)

    def unregister(self, sock: Any) -> None:
        self.registered.remove(sock)


class Reserve:
    """In place of a descriptor that is kept for refusals."""

    def __init__(self, *, works: bool = True) -> None:
        self.works = works
        self.answers: list[bytes] = []

    def refuse(self, listener: Any, answer: bytes) -> bool:
        self.answers.append(answer)
        return self.works


class Shed:
    """In place of the gateway: notes what was shed."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.records: list[Any] = []
        self.metrics = SimpleNamespace(shed=self.reasons.append)
        self.service = SimpleNamespace(tell=self.records.append)
        free = ThreadUsage(busy=0, most=10, held=0, starting=0, pace=0.01, moved=0.0)
        self.inflight = SimpleNamespace(thread_usage=lambda connections: free)


@pytest.fixture
def reserve(monkeypatch: pytest.MonkeyPatch) -> Reserve:
    made = Reserve()
    monkeypatch.setattr(AcceptLoop, "_reserve", made, raising=False)
    return made


@pytest.fixture
def loop(reserve: Reserve) -> Iterator[AcceptLoop]:
    made = AcceptLoop(1, 1, [], None, 30, Config(), logging.getLogger("test"))
    made.poller = Poller()
    made.set_accept_enabled = lambda enabled: None  # there is no listener
    made._accepting = True
    yield made
    made.tmp.close()


@pytest.fixture
def conn() -> Iterator[tuple[ClientConnection, socket.socket]]:
    ours, caller = socket.socketpair()
    with ours, caller:
        ours.setblocking(False)
        yield ClientConnection(Config(), ours, None, None), caller


class Listener:
    """Raises what ``accept`` of a listener raises."""

    def __init__(self, number: int) -> None:
        self.number = number

    def accept(self) -> Any:
        raise OSError(self.number, "no")


def test_counts_change_on_the_main_thread_alone(loop: AcceptLoop) -> None:
    loop.nr_conns = 3
    loop._closed.extend([None, None])
    loop._handed_over.extend([None, None, None])
    loop._returned.append(None)
    assert (loop.nr_conns, loop.worker_connections) == (3, 4)
    for _ in range(2):
        loop.accept(Listener(errno.EAGAIN))
        assert (loop.nr_conns, loop.worker_connections) == (1, 6)


def test_a_connection_that_another_worker_took_is_none(loop: AcceptLoop) -> None:
    loop.accept(Listener(errno.EAGAIN))
    loop.accept(Listener(errno.ECONNABORTED))
    assert loop.nr_conns == 0
    with pytest.raises(OSError, match="no"):
        loop.accept(Listener(errno.EINVAL))


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_without_a_descriptor_the_caller_is_refused_and_that_is_recorded(
    loop: AcceptLoop, reserve: Reserve, number: int
) -> None:
    shed = Shed()
    loop.accept(Listener(number))
    loop.gateway = shed  # type: ignore[assignment]
    loop.accept(Listener(number))
    assert len(reserve.answers) == 2
    assert reserve.answers[0].startswith(b"HTTP/1.1 503 ")
    assert b"Try again in a moment" in reserve.answers[0]
    assert (shed.reasons, len(shed.records)) == (["descriptors"], 1)


def test_a_parked_connection_makes_room_first(
    loop: AcceptLoop, conn: tuple[ClientConnection, socket.socket]
) -> None:
    ours, caller = conn
    loop.nr_conns = 1
    loop._park(ours)
    assert loop.worker_connections == 5
    loop.accept(Listener(errno.EMFILE))
    assert (loop.nr_conns, loop.worker_connections, loop.poller.registered) == (0, 4, [])
    assert caller.recv(1) == b""


def test_a_parked_connection_gets_a_thread_when_its_head_has_come(
    loop: AcceptLoop, conn: tuple[ClientConnection, socket.socket]
) -> None:
    served: list[Any] = []
    loop.tpool = SimpleNamespace(submit=lambda work, *args: served.append(args[0]))
    ours, caller = conn
    loop._park(ours)
    loop._head_ready(ours, ours.sock)
    assert (served, len(loop.poller.registered)) == ([], 1)
    caller.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    loop._head_ready(ours, ours.sock)
    assert (served, loop.poller.registered) == ([ours], [])


class Kept:
    """In place of the kept connections: one of them is idle."""

    def __init__(self, loop: AcceptLoop, conn: ClientConnection) -> None:
        self.idle = [conn]
        self._loop = loop

    def close_oldest(self) -> bool:
        closed = self.idle[:1]
        for conn in closed:
            self.idle.remove(conn)
            self._loop._drop_kept(conn)
        return bool(closed)


def test_an_idle_connection_makes_room_before_a_parked_one(
    loop: AcceptLoop, conn: tuple[ClientConnection, socket.socket]
) -> None:
    idle, caller = conn
    ours, parked = socket.socketpair()
    with ours, parked:
        loop.nr_conns = 2
        loop._park(ClientConnection(Config(), ours, None, None))
        loop._handed_over.append(None)
        loop._kept = Kept(loop, idle)  # type: ignore[assignment]
        loop.accept(Listener(errno.EMFILE))
        assert caller.recv(1) == b""
        loop._update_counts()
        assert (loop.nr_conns, loop.worker_connections, len(loop._parked)) == (1, 5, 1)
        loop.accept(Listener(errno.EMFILE))
        assert parked.recv(1) == b""


def test_the_next_request_of_a_kept_connection_waits_for_a_thread(
    loop: AcceptLoop, conn: tuple[ClientConnection, socket.socket]
) -> None:
    served: list[Any] = []
    loop.tpool = SimpleNamespace(submit=lambda work, *args: served.append(args[0]))
    loop.gateway = shed = Shed()  # type: ignore[assignment]
    loop.method_queue = SimpleNamespace(defer=lambda work, *args: None)
    full = ThreadUsage(busy=10, most=10, held=10, starting=0, pace=0.001, moved=float("inf"))
    usage = [full, full, full._replace(busy=9)]
    shed.inflight = SimpleNamespace(is_full=True, thread_usage=lambda busy: usage.pop(0))
    ours, _ = conn
    loop._next_arrived(ours)
    assert loop._serve_waiting() > 0
    assert loop._serve_waiting() > 0
    assert (served, len(loop._returned)) == ([], 0), "it counts as no thread while it waits"
    assert loop._serve_waiting() == 0
    assert (served, len(loop._returned), len(loop._waiting)) == ([ours], 1, 0)
    shed.inflight.is_full = False
    loop._next_arrived(ours)
    assert served == [ours, ours], "with a free thread it does not wait"


def test_a_pool_that_starts_no_thread_answers_503(
    loop: AcceptLoop, conn: tuple[ClientConnection, socket.socket]
) -> None:
    def refuse(*args: Any) -> None:
        raise RuntimeError("can't start new thread")

    ours, caller = conn
    loop.tpool = SimpleNamespace(submit=refuse)
    loop.enqueue_req(ours)
    assert b"This server can start no thread" in caller.recv(9999)
    loop.accept(Listener(errno.EAGAIN))
    assert loop.nr_conns == -1, "the connection that was accepted before is closed"


def test_heartbeats_are_rare(loop: AcceptLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    beats: list[float] = []
    times = iter([100.0, 100.5, 100.0 + HEARTBEAT_PERIOD, 200.0])
    monkeypatch.setattr(accept_loop.time, "monotonic", lambda: next(times))
    monkeypatch.setattr(accept_loop.gthread.ThreadWorker, "notify", lambda self: beats.append(0))
    for _ in range(4):
        loop.notify()
    assert len(beats) == 3
