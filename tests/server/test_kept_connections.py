"""Tests the connections between two requests: who owns them, and when they are closed."""

from __future__ import annotations

import errno
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from threading import Thread
from typing import Any
from unittest.mock import Mock

import pytest
from gunicorn.config import Config

from flask_gateway.server import kept_connections
from flask_gateway.server.client_connection import ClientConnection
from flask_gateway.server.kept_connections import STOP_LINGER, IdleQueue, KeptConnections

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Poller:
    """In place of the reactor's: notes what is armed."""

    def __init__(self) -> None:
        self.armed: Any = None
        self.fds: list[int] = []
        self.fails = False

    def arm(self, fd: int) -> None:
        if self.fails:
            raise OSError(errno.ENOMEM, "no")
        self.fds.append(fd)


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


class Bench:
    """Kept connections, and what became of them."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.poller = Poller()
        self.arrived: list[ClientConnection] = []
        self.gone: list[ClientConnection] = []
        poller: Any = self.poller
        self.kept = KeptConnections(poller, 10.0, self.arrived.append, self.gone.append)

    def connection(self) -> tuple[ClientConnection, socket.socket]:
        """A kept connection, and its caller's end."""
        ours, caller = map(self._stack.enter_context, socket.socketpair())
        ours.setblocking(False)
        conn = ClientConnection(Config(), ours, None, None)
        self.kept.keep(conn)
        return conn, caller

    def ready(self, conn: ClientConnection) -> None:
        self.poller.armed(conn.sock.fileno())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(kept_connections, "time", made)
    return made


@pytest.fixture
def bench(clock: Clock) -> Iterator[Bench]:
    with ExitStack() as stack:
        yield Bench(stack)


def test_the_next_request_is_served_once(bench: Bench) -> None:
    conn, caller = bench.connection()
    assert bench.poller.fds == [conn.sock.fileno()]
    caller.sendall(REQUEST)
    bench.ready(conn)
    bench.ready(conn)
    assert (bench.arrived, bench.gone, len(bench.kept)) == ([conn], [], 0)


def test_the_beginning_of_a_head_leaves_the_idle_ones(bench: Bench) -> None:
    """From then on it has the time of a head, and no longer that of an idle connection."""
    conn, caller = bench.connection()
    caller.sendall(REQUEST[:3])
    bench.ready(conn)
    assert (bench.arrived, len(bench.kept)) == ([conn], 0)


def test_a_caller_that_leaves_is_noticed(bench: Bench) -> None:
    conn, caller = bench.connection()
    caller.close()
    bench.ready(conn)
    assert (bench.arrived, bench.gone, len(bench.kept)) == ([], [conn], 0)


def test_an_event_of_an_earlier_socket_changes_nothing(bench: Bench) -> None:
    conn, caller = bench.connection()
    bench.ready(conn)
    assert (bench.arrived, bench.gone, len(bench.kept)) == ([], [], 1)
    caller.sendall(REQUEST)
    bench.ready(conn)
    assert bench.arrived == [conn]


def test_idle_connections_end_in_time(bench: Bench, clock: Clock) -> None:
    first, _ = bench.connection()
    clock.now += 5
    second, _ = bench.connection()
    bench.kept.close_late(clock.now)
    assert bench.gone == []
    bench.kept.close_late(clock.now + 5)
    assert bench.gone == [first]
    bench.kept.close_late(clock.now + 10)
    assert bench.gone == [first, second]


def test_a_worker_that_stops_keeps_none_for_long(bench: Bench, clock: Clock) -> None:
    first, _ = bench.connection()
    bench.kept.hurry(clock.now)
    second, _ = bench.connection()
    bench.kept.close_late(clock.now + STOP_LINGER - 0.1)
    assert bench.gone == []
    bench.kept.close_late(clock.now + STOP_LINGER)
    assert bench.gone == [first, second]


def test_the_one_that_is_idle_for_longest_makes_room(bench: Bench) -> None:
    first, _ = bench.connection()
    bench.connection()
    assert bench.kept.close_oldest()
    assert bench.gone == [first]
    assert bench.kept.close_oldest()
    assert not bench.kept.close_oldest()


def test_there_are_only_so_many(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (8, 8))
    with ExitStack() as stack:
        bench = Bench(stack)
        made = [bench.connection()[0]]
        assert bench.kept.has_room
        made += [bench.connection()[0] for _ in range(3)]
        assert not bench.kept.has_room
        bench.kept.close_late(clock.now)
        assert bench.gone == made[:2]


def test_a_connection_that_cannot_be_polled_is_closed(bench: Bench) -> None:
    bench.poller.fails = True
    conn, _ = bench.connection()
    assert (bench.gone, len(bench.kept)) == ([conn], 0)


def test_only_one_thread_takes_a_connection() -> None:
    queue, conn = IdleQueue(), ClientConnection.__new__(ClientConnection)
    conn.sock = Mock(fileno=lambda: 7)
    queue.add(conn, 1.0, lambda fd: None)
    assert [queue.take(7), queue.take(7), queue.take_late(2.0)] == [conn, None, []]


def test_no_thread_can_take_a_connection_before_it_is_armed() -> None:
    """It would close it, and the number might be that of another caller's stream when it is armed."""
    queue, conn = IdleQueue(), ClientConnection.__new__(ClientConnection)
    conn.sock = Mock(fileno=lambda: 7)
    taken: list[ClientConnection] = []
    thread = Thread(target=lambda: taken.extend(queue.take_late(2.0)))
    seen: list[bool] = []

    def arm(fd: int) -> None:
        thread.start()
        thread.join(0.2)
        seen.append(thread.is_alive())

    queue.add(conn, 1.0, arm)
    thread.join()
    assert (seen, taken) == ([True], [conn])
