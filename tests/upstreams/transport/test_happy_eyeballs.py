"""Several addresses of one name: the first that answers is taken, whatever became of the others."""

from __future__ import annotations

import errno
import gc
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import msgspec
import pytest
from kit.calls import make_call
from kit.exchanges import open_files

from flask_gateway.config.schema import Timeouts
from flask_gateway.model.errors import CallerLeft, GatewayError, Overloaded, UpstreamTimeout
from flask_gateway.reactor import Reactor
from flask_gateway.upstreams.http_upstream import HttpUpstream
from flask_gateway.upstreams.transport import connection, happy_eyeballs
from flask_gateway.upstreams.transport.client import UpstreamClient
from flask_gateway.upstreams.transport.happy_eyeballs import (
    DELAY,
    MOST,
    Interrupt,
    Race,
    Unanswering,
    interleaved,
)

BODY = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"fine"},"finish_reason":"stop"}]}'
#: Longer than anything here takes, seconds.
LONG = 20.0


def info(address: str, port: int = 80) -> tuple[Any, ...]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return family, socket.SOCK_STREAM, 6, "", (address, port)


@contextmanager
def black_hole(address: str, port: int = 0) -> Iterator[int]:
    """An address that swallows packets: the queue of its listener is full, so the kernel drops what comes."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        time.sleep(0.05)
        try:
            yield listener.getsockname()[1]
        finally:
            for one in waiting:
                one.close()


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """Answers every request at 127.0.0.1, and closes."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)

    def serve() -> None:
        with suppress(OSError):
            while True:
                sock, _ = listener.accept()
                with sock, suppress(OSError):
                    if sock.recv(65536):
                        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
                        sock.sendall(head + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)

    thread = threading.Thread(target=serve)
    thread.start()
    yield listener
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "UNANSWERING", Unanswering())


def run(*found: tuple[Any, ...], seconds: float = LONG) -> tuple[socket.socket, Race]:
    race, interrupt = Race(found, (), time.monotonic() + seconds), Interrupt()
    try:
        return race.run(interrupt), race
    finally:
        interrupt.close()


def sockets() -> set[tuple[str, str]]:
    """The sockets and eventfds of this process.

    Compare them by ``<=``: those that earlier tests left to the garbage collector may close at any time.
    """
    gc.collect()
    return {one for one in open_files().items() if one[1].startswith(("socket:", "anon_inode:[eventfd]"))}


# ---------------------------------------------------------------- the race


@pytest.mark.parametrize(
    ("found", "tried"),
    [
        ("a b c", "a b c"),
        (":a :b :c d e", ":a d :b e :c"),
        ("a b :c", "a :c b"),
        (":a :b", ":a :b"),
        ("", ""),
    ],
)
def test_the_families_are_tried_in_turn(found: str, tried: str) -> None:
    assert [one[4][0] for one in interleaved([info(name) for name in found.split()])] == tried.split()


def test_a_dead_first_address_costs_a_quarter_of_a_second(server: socket.socket) -> None:
    port = server.getsockname()[1]
    with black_hole("127.0.0.2", port):
        before, began = sockets(), time.monotonic()
        sock, race = run(info("127.0.0.2", port), info("127.0.0.1", port))
        assert DELAY <= time.monotonic() - began < 5 - DELAY  # the default of the connect timeout is 5 s
        assert sock.getpeername()[0] == "127.0.0.1"
        assert (race.answered, race.vain) == (("127.0.0.1", port), [("127.0.0.2", port)])
        sock.close()
        assert sockets() <= before


def test_an_address_that_refuses_costs_nothing(
    server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(happy_eyeballs, "DELAY", LONG)
    port = server.getsockname()[1]
    began = time.monotonic()
    sock, race = run(info("127.0.0.3", port), info("127.0.0.1", port), info("127.0.0.4", port))
    assert time.monotonic() - began < LONG / 2
    assert race.vain == [("127.0.0.3", port)]
    sock.close()


def test_a_slow_first_address_still_wins_if_it_answers_first(server: socket.socket) -> None:
    """All that were begun stay in the race."""
    port = server.getsockname()[1]
    with black_hole("127.0.0.2", port), black_hole("127.0.0.3", port):
        holes = [info(f"127.0.0.{number}", port) for number in (2, 3)]
        sock, race = run(*holes, info("127.0.0.1", port), info("127.0.0.4", port))
        assert race.vain == [one[4] for one in holes]
        sock.close()


def test_when_all_addresses_refuse_the_last_error_is_raised() -> None:
    before = sockets()
    with pytest.raises(ConnectionRefusedError):
        run(info("127.0.0.2", 1), info("127.0.0.3", 1))
    with pytest.raises(OSError, match="no address"):
        run()
    assert sockets() <= before


def test_the_race_ends_within_its_timeout() -> None:
    with black_hole("127.0.0.2") as port:
        before, began = sockets(), time.monotonic()
        with pytest.raises(TimeoutError):
            run(*[info("127.0.0.2", port)] * 3, seconds=0.4)
        assert 0.4 <= time.monotonic() - began < 0.4 + 3
        assert sockets() <= before


def test_attempts_in_flight_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(happy_eyeballs, "DELAY", 0.01)
    with black_hole("127.0.0.2") as port:
        race, interrupt = Race([info("127.0.0.2", port)] * 40, (), time.monotonic() + LONG), Interrupt()
        most: list[int] = []
        begin = race._begin_next

        def counted() -> None:
            begin()
            most.append(len(race._trying))
            if len(most) == 40:
                interrupt.cut()

        monkeypatch.setattr(race, "_begin_next", counted)
        with pytest.raises(InterruptedError):
            race.run(interrupt)
        interrupt.close()
        assert max(most) == MOST


def test_a_missing_descriptor_blames_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(happy_eyeballs.socket, "socket", none)
    with pytest.raises(OSError, match="Too many open files"):
        run(info("127.0.0.2"), info("127.0.0.3"))


def test_an_interrupt_may_come_after_its_end() -> None:
    interrupt = Interrupt()
    interrupt.cut()
    assert interrupt.close()
    interrupt.cut()
    assert interrupt.close()


# ---------------------------------------------------------------- what is remembered


def test_an_unanswering_address_is_tried_last_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    unanswering, found = Unanswering(), [info("a"), info("b"), info("c")]
    assert unanswering.last(found) == found
    unanswering.remember(found[1][4], [found[0][4]])
    assert unanswering.last(found) == [found[1], found[2], found[0]]
    unanswering.remember(found[0][4], [])
    assert unanswering.last(found) == found
    unanswering.remember(found[1][4], [found[0][4]])
    monkeypatch.setattr(Unanswering, "LASTS", -1.0)
    unanswering.remember(found[1][4], [found[0][4]])
    assert unanswering.last(found) == found


def test_the_number_of_remembered_addresses_is_bounded() -> None:
    unanswering = Unanswering()
    for number in range(3 * Unanswering.MOST):
        unanswering.remember("x", [number])
        assert len(unanswering._until) <= Unanswering.MOST


# ---------------------------------------------------------------- as an upstream


@pytest.fixture
def upstream(server: socket.socket, monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpUpstream]:
    """Has a name with two addresses, of which the first is a black hole."""
    port = server.getsockname()[1]
    found = [info("127.0.0.2", port), info("127.0.0.1", port)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    reactor = Reactor()
    reactor.at(0.0, lambda: None)  # it has descriptors, too, from its first use on
    http = UpstreamClient(reactor)
    with black_hole("127.0.0.2", port):
        yield HttpUpstream("one", f"http://two.test:{port}/v1", None, http, Timeouts())
    http.close()
    assert len(reactor) == 0
    reactor.close()


def test_the_call_after_a_dead_address_does_not_wait_for_it(
    upstream: HttpUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask() -> bytes:
        call = msgspec.structs.replace(make_call(), started=time.monotonic())
        return b"".join(upstream.send(call).prime())

    before = sockets()
    assert b"fine" in ask()
    monkeypatch.setattr(happy_eyeballs, "DELAY", LONG)
    began = time.monotonic()
    assert b"fine" in ask()
    assert time.monotonic() - began < LONG / 2
    assert sockets() <= before


def test_a_disconnected_caller_ends_connecting_at_once(
    upstream: HttpUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(happy_eyeballs, "DELAY", LONG)
    call, left = make_call(), CallerLeft("gone")
    threading.Timer(0.1, call.cancellation.cancel, (left,)).start()
    before, began = sockets(), time.monotonic()
    with pytest.raises(CallerLeft) as caught:
        upstream.send(call)
    assert caught.value is left
    assert time.monotonic() - began < 4  # the connect timeout is 5 s
    assert sockets() <= before


def test_the_connect_timeout_ends_the_race(upstream: HttpUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(happy_eyeballs, "DELAY", LONG)
    before = sockets()
    for clocks, clock in ((Timeouts(connect=0.1), "connect"), (Timeouts(answer=0.1), "answer")):
        upstream._clocks = clocks
        with pytest.raises(UpstreamTimeout) as caught:
            upstream.send(make_call())
        assert caught.value.clock == clock
    assert sockets() <= before


def test_a_missing_descriptor_is_the_gateways_fault(
    upstream: HttpUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(happy_eyeballs.os, "eventfd", none)
    with pytest.raises(GatewayError) as caught:
        upstream.send(make_call())
    assert isinstance(caught.value, Overloaded)
