"""Tests hang-ups: each is reported once, and no registration is called after it was cancelled."""

from __future__ import annotations

import socket
import threading
import time
from functools import partial

import pytest
from kit.reactors import cpu
from kit.waiting import until

from flask_gateway.reactor import Reactor, hangup

# ---------------------------------------------------------------- hang-ups


@pytest.mark.parametrize("how", ["close", "half", "reset", "with bytes unread"])
def test_a_hang_up_is_reported_once(
    any_reactor: Reactor, pair: tuple[socket.socket, socket.socket], how: str
) -> None:
    ours, peer = pair
    left: list[float] = []
    any_reactor.watch(ours, lambda: left.append(time.monotonic()))
    begun = time.monotonic()
    if how == "half":
        peer.shutdown(socket.SHUT_WR)
    elif how == "reset":
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()
    elif how == "with bytes unread" and any_reactor._loop._hangups.__class__ is hangup.EpollHangups:  # type: ignore[union-attr]
        peer.sendall(b"more")
        peer.close()
    else:
        peer.close()
    assert until(lambda: left)
    assert left[0] - begun < 5
    time.sleep(0.05)
    assert len(left) == 1
    assert len(any_reactor) == 0


def test_simultaneous_hang_ups_are_all_reported(reactor: Reactor) -> None:
    """More sockets than one wait returns."""
    pairs = [socket.socketpair() for _ in range(10 * hangup._MAX_EVENTS)]
    left: list[int] = []
    for number, (ours, _) in enumerate(pairs):
        reactor.watch(ours, partial(left.append, number))
    for _, peer in pairs:
        peer.close()
    assert until(lambda: len(left) == len(pairs))
    assert sorted(left) == list(range(len(pairs)))
    for ours, _ in pairs:
        ours.close()


def test_a_hang_up_before_the_watch_is_reported(
    any_reactor: Reactor, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, peer = pair
    peer.close()
    time.sleep(0.01)
    left = threading.Event()
    any_reactor.watch(ours, left.set)
    assert left.wait(2)


def test_unread_bytes_are_no_hang_up_and_stay_unread(
    any_reactor: Reactor, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, peer = pair
    peer.sendall(b"pipelined")
    left = threading.Event()
    handle = any_reactor.watch(ours, left.set)
    spent = cpu()
    assert not left.wait(0.15)
    assert cpu() - spent < 0.05  # and nothing spins
    handle.cancel()
    assert ours.recv(100) == b"pipelined"


def test_a_hang_up_of_a_unix_socket_is_reported(reactor: Reactor) -> None:
    ours, peer = socket.socketpair()
    left = threading.Event()
    reactor.watch(ours, left.set)
    peer.close()
    assert left.wait(2)
    ours.close()


def test_the_loop_does_not_spin_on_a_hung_up_socket(
    reactor: Reactor, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, peer = pair
    left = threading.Event()
    reactor.watch(ours, left.set)
    peer.close()
    assert left.wait(2)
    spent = cpu()
    time.sleep(0.2)
    assert cpu() - spent < 0.1


# ---------------------------------------------------------------- cancelling


def test_a_cancelled_registration_is_not_called(
    reactor: Reactor, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, peer = pair
    called: list[str] = []
    due = time.monotonic() + 0.1
    ring = reactor.at(due, lambda: called.append("ring"))
    peer_left = reactor.watch(ours, lambda: called.append("left"))
    for handle in (ring, peer_left, ring, peer_left):
        handle.cancel()
    in_time = time.monotonic() < due
    assert len(reactor) == 0
    peer.close()
    time.sleep(0.2)
    assert called == [] if in_time else called in ([], ["ring"])


def test_cancel_waits_for_a_running_callback(reactor: Reactor) -> None:
    inside, over = threading.Event(), threading.Event()

    def slow() -> None:
        inside.set()
        time.sleep(0.1)
        over.set()

    handle = reactor.at(time.monotonic(), slow)
    assert inside.wait(2)
    handle.cancel()
    assert over.is_set()


def test_no_callback_starts_after_cancel_has_returned(reactor: Reactor) -> None:
    late: list[int] = []
    rung = 0
    for number in range(2000):
        cancelled = False

        def ring(number: int = number) -> None:
            nonlocal rung
            rung += 1
            if cancelled:  # noqa: B023  # it is this very variable that is looked at
                late.append(number)

        handle = reactor.at(time.monotonic() + (number % 7) * 2e-5, ring)
        for _ in range(number % 40):
            pass
        handle.cancel()
        cancelled = True
    assert late == []
    assert len(reactor) == 0


def test_reused_descriptor_numbers_are_never_confused(reactor: Reactor) -> None:
    """Sockets reuse the same descriptor numbers. Some peers hang up just before the watch is cancelled."""
    wrong: list[int] = []
    for number in range(300):
        ours, peer = socket.socketpair()
        closed = number % 3 == 0
        handle = reactor.watch(ours, lambda number=number, closed=closed: closed or wrong.append(number))  # type: ignore[misc]
        if closed:
            peer.close()
        handle.cancel()
        ours.close()
        if not closed:
            peer.close()
    assert wrong == []
    assert len(reactor) == 0
