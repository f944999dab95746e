"""Tests the reactor: failures, timers, hang-ups, cancelling, forks, and its thread."""

from __future__ import annotations

import gc
import os
import select
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from kit.waiting import until

from flask_gateway.reactor import Reactor, hangup, loop


@pytest.fixture(params=["epoll", "sweep", "sweep without RDHUP"])
def any_reactor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reactor]:
    """A reactor with epoll, and one without as on other platforms."""
    if request.param != "epoll":
        monkeypatch.setattr(loop, "open_hangups", hangup.PolledHangups)
        monkeypatch.setattr(hangup, "SWEEP", 0.02)
    if request.param == "sweep without RDHUP":
        monkeypatch.setattr(hangup, "_RDHUP", 0)
    found = Reactor()
    yield found
    found.close()


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    found = Reactor()
    yield found
    found.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Our end and the peer's, over TCP."""
    with connected() as (ours, peer):
        yield ours, peer


class connected:
    def __enter__(self) -> tuple[socket.socket, socket.socket]:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.peer = socket.create_connection(server.getsockname())
            self.ours, _ = server.accept()
        return self.ours, self.peer

    def __exit__(self, *_: object) -> None:
        self.ours.close()
        self.peer.close()


def soon(condition: Callable[[], object], seconds: float = 2.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.002)
    return bool(condition())


def cpu() -> float:
    return time.process_time()


# ---------------------------------------------------------------- failures


def test_a_callback_that_raises_does_not_stop_others(
    reactor: Reactor, caplog: pytest.LogCaptureFixture
) -> None:
    rung = threading.Event()
    now = time.monotonic()
    reactor.at(now, partial(divmod, 1, 0))
    reactor.at(now + 0.01, rung.set)
    assert rung.wait(2)
    assert "ZeroDivisionError" in caplog.text
    assert soon(lambda: len(reactor) == 0)


def test_the_loop_continues_after_a_failed_iteration(
    reactor: Reactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung = threading.Event()
    reactor.at(time.monotonic(), lambda: None)
    assert soon(lambda: len(reactor) == 0)
    broken = reactor._loop._hangups  # type: ignore[union-attr]
    wait = broken.wait

    def fail_once(seconds: float) -> list[int]:
        monkeypatch.setattr(broken, "wait", wait)
        raise OSError("once")

    monkeypatch.setattr(broken, "wait", fail_once)
    reactor.at(time.monotonic() + 0.01, rung.set)
    assert rung.wait(2)


def test_a_closed_socket_is_ignored(any_reactor: Reactor) -> None:
    left = threading.Event()
    sock = socket.socket()
    sock.close()
    handle = any_reactor.watch(sock, left.set)
    assert not left.wait(0.1)
    handle.cancel()
    handle.cancel()
    assert len(any_reactor) == 0


def test_a_file_that_epoll_cannot_watch_is_ignored(reactor: Reactor, tmp_path) -> None:
    class File:
        def __init__(self) -> None:
            self.file = (tmp_path / "file").open("wb")

        def fileno(self) -> int:
            return self.file.fileno()

    file = File()
    handle = reactor.watch(file, lambda: None)  # type: ignore[arg-type]
    until(lambda: len(reactor) == 0)
    handle.cancel()
    file.file.close()


def test_a_socket_closed_without_cancel_is_forgotten_when_its_number_is_reused(reactor: Reactor) -> None:
    wrong, right = threading.Event(), threading.Event()
    ours, peer = socket.socketpair()
    number = ours.fileno()
    old = reactor.watch(ours, wrong.set)
    ours.close()
    peer.close()
    ours, peer = socket.socketpair()
    assert ours.fileno() == number
    new = reactor.watch(ours, right.set)
    assert len(reactor) == 1
    old.cancel()
    peer.close()
    assert right.wait(2)
    assert not wrong.is_set()
    new.cancel()
    ours.close()


# ---------------------------------------------------------------- timers


def test_timers_fire_in_order_and_on_time(reactor: Reactor) -> None:
    rung: list[tuple[int, float]] = []
    begun = time.monotonic()
    for number in (3, 1, 2, 0):
        reactor.at(begun + number * 0.03, lambda number=number: rung.append((number, time.monotonic())))  # type: ignore[misc]
    assert soon(lambda: len(rung) == 4)
    assert [number for number, _ in rung] == [0, 1, 2, 3]
    for number, moment in rung:
        assert 0 <= moment - begun - number * 0.03 < 1


def test_an_earlier_timer_wakes_the_reactor(reactor: Reactor) -> None:
    early = threading.Event()
    reactor.at(time.monotonic() + 60, lambda: None).cancel()
    reactor.at(time.monotonic() + 50, lambda: None)
    time.sleep(0.05)
    begun = time.monotonic()
    reactor.at(begun + 0.02, early.set)
    assert early.wait(2)
    assert time.monotonic() - begun < 1


def test_only_an_earlier_timer_wakes_the_reactor(reactor: Reactor, monkeypatch: pytest.MonkeyPatch) -> None:
    reactor.at(time.monotonic() + 50, lambda: None)
    woken: list[None] = []
    monkeypatch.setattr(reactor._loop._hangups, "wake", lambda: woken.append(None))  # type: ignore[union-attr]
    for number in range(100):
        reactor.at(time.monotonic() + 60 + number, lambda: None).cancel()
    assert woken == []


def test_a_periodic_timer_fires_until_cancelled(reactor: Reactor) -> None:
    rung: list[float] = []
    handle = reactor.every(0.02, lambda: rung.append(time.monotonic()))
    assert soon(lambda: len(rung) >= 3)
    handle.cancel()
    count = len(rung)
    time.sleep(0.08)
    assert len(rung) == count
    assert len(reactor) == 0
    assert rung[1] - rung[0] >= 0.02


def test_a_callback_may_add_a_timer_and_cancel_itself(reactor: Reactor) -> None:
    done = threading.Event()
    handles = []

    def first() -> None:
        handles[0].cancel()  # does not wait for itself
        reactor.at(time.monotonic(), done.set)

    handles.append(reactor.at(time.monotonic() + 0.05, first))
    assert done.wait(2)


def test_many_due_timers_let_ready_descriptors_run_in_between(
    reactor: Reactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "TIME_SLICE", 0.0)
    order: list[str] = []
    fd = os.eventfd(1)

    def read(events: int) -> None:
        os.eventfd_read(fd)
        order.append("ready")

    held = threading.Event()
    reactor.at(time.monotonic(), held.wait)
    reactor.at(time.monotonic(), lambda: reactor.poller.wait_for(fd, select.EPOLLIN, read))
    for _ in range(50):
        reactor.at(time.monotonic(), lambda: order.append("ring"))
    held.set()
    assert soon(lambda: len(order) == 51)
    assert order.index("ready") < 50
    os.close(fd)


def test_the_longest_iteration_is_measured(reactor: Reactor) -> None:
    assert reactor.longest_iteration() == 0.0
    reactor.at(time.monotonic(), lambda: None)
    assert soon(lambda: len(reactor) == 0)
    reactor.longest_iteration()
    reactor.at(time.monotonic(), lambda: time.sleep(0.06))
    reactor.at(time.monotonic() + 0.6, lambda: None)
    assert soon(lambda: len(reactor) == 0)
    assert 0.06 <= reactor.longest_iteration() < 0.5
    assert reactor.longest_iteration() < 0.06


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
    assert soon(lambda: left)
    assert left[0] - begun < 0.5
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
    assert soon(lambda: len(left) == len(pairs))
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
    ring = reactor.at(time.monotonic() + 0.05, lambda: called.append("ring"))
    peer_left = reactor.watch(ours, lambda: called.append("left"))
    for handle in (ring, peer_left, ring, peer_left):
        handle.cancel()
    assert len(reactor) == 0
    peer.close()
    time.sleep(0.1)
    assert called == []


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


def test_a_cancelled_registration_is_garbage_collected(reactor: Reactor) -> None:
    class Big:
        def ring(self) -> None: ...

    big = Big()
    gone = weakref.ref(big)
    reactor.at(time.monotonic() + 60, big.ring).cancel()
    del big
    gc.collect()
    assert gone() is None


def test_cancelled_timers_do_not_pile_up(reactor: Reactor) -> None:
    for _ in range(20_000):
        reactor.at(time.monotonic() + 600, lambda: None).cancel()
    kept = [reactor.at(time.monotonic() + 600, lambda: None) for _ in range(10)]
    assert len(reactor._loop._heap) < 200  # type: ignore[union-attr]
    assert len(reactor) == 10
    for handle in kept:
        handle.cancel()


def test_many_threads_register_and_cancel_at_once(reactor: Reactor) -> None:
    rung: list[int] = []
    asked = 40

    def ask() -> None:
        for number in range(asked):
            keep = reactor.at(time.monotonic() + 0.001 * (number % 5), lambda: rung.append(1))
            lose = reactor.at(time.monotonic() + 30, lambda: rung.append(2))
            ours, peer = socket.socketpair()
            handle = reactor.watch(ours, lambda: None)
            peer.close()
            for used in (lose, handle):
                used.cancel()
            ours.close()
            del keep

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert soon(lambda: len(rung) == 8 * asked)
    assert set(rung) == {1}
    assert len(reactor) == 0


# ---------------------------------------------------------------- the thread


def test_the_thread_starts_with_the_first_registration() -> None:
    before = threading.active_count()
    reactor = Reactor()
    assert threading.active_count() == before
    handles = [reactor.at(time.monotonic() + 60, lambda: None) for _ in range(5)]
    assert threading.active_count() == before + 1
    for handle in handles:
        handle.cancel()
    reactor.close()
    reactor.close()
    assert threading.active_count() == before


def test_a_forked_child_has_its_own_reactor(reactor: Reactor) -> None:
    """After a fork the parent's registrations are harmless, and the child's work."""
    parents = reactor.at(time.monotonic() + 0.3, lambda: None)
    with connected() as (ours, peer):
        left = threading.Event()
        watched = reactor.watch(ours, left.set)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                parents.cancel()
                watched.cancel()  # the epoll set is the parent's too
                rung = threading.Event()
                reactor.at(time.monotonic() + 0.01, rung.set)
                code = 0 if rung.wait(2) and len(reactor) == 0 else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        peer.close()
        assert left.wait(2)
    assert soon(lambda: len(reactor) == 0)


def test_an_idle_reactor_uses_no_cpu() -> None:
    """An idle reactor costs nothing."""
    reactor = Reactor()
    reactor.at(time.monotonic() + 60, lambda: None)
    time.sleep(0.02)
    spent = cpu()
    time.sleep(0.2)
    assert cpu() - spent < 0.05
    reactor.close()


def test_the_platform_has_epoll() -> None:
    opened = hangup.open_hangups()
    assert isinstance(opened, hangup.EpollHangups) is hasattr(select, "epoll")
    opened.close()
