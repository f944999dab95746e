"""Tests the reactor: its timers, its thread, cancelled registrations, and callbacks that fail."""

from __future__ import annotations

import gc
import os
import select
import socket
import threading
import time
import weakref
from functools import partial

import pytest
from kit.reactors import connected, cpu
from kit.waiting import until

from flask_gateway.reactor import Reactor, hangup, loop

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
    assert until(lambda: len(reactor) == 0)


def test_the_loop_continues_after_a_failed_iteration(
    reactor: Reactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung = threading.Event()
    reactor.at(time.monotonic(), lambda: None)
    assert until(lambda: len(reactor) == 0)
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
    assert until(lambda: len(rung) == 4)
    assert [number for number, _ in rung] == [0, 1, 2, 3]
    for number, moment in rung:
        assert 0 <= moment - begun - number * 0.03 < 5


def test_an_earlier_timer_wakes_the_reactor(reactor: Reactor) -> None:
    early = threading.Event()
    reactor.at(time.monotonic() + 60, lambda: None).cancel()
    reactor.at(time.monotonic() + 50, lambda: None)
    time.sleep(0.05)
    begun = time.monotonic()
    reactor.at(begun + 0.02, early.set)
    assert early.wait(2)
    assert time.monotonic() - begun < 20


def test_only_an_earlier_timer_wakes_the_reactor(reactor: Reactor) -> None:
    reactor.at(time.monotonic() + 50, lambda: None)
    woken: list[None] = []
    with pytest.MonkeyPatch.context() as patch:  # at its end the reactor must be woken, or it ends 50 s later
        patch.setattr(reactor._loop._hangups, "wake", lambda: woken.append(None))  # type: ignore[union-attr]
        for number in range(100):
            reactor.at(time.monotonic() + 60 + number, lambda: None).cancel()
    assert woken == []


def test_a_periodic_timer_fires_until_cancelled(reactor: Reactor) -> None:
    rung: list[float] = []
    handle = reactor.every(0.02, lambda: rung.append(time.monotonic()))
    assert until(lambda: len(rung) >= 3)
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
    assert until(lambda: len(order) == 51)
    assert order.index("ready") < 50
    os.close(fd)


def test_the_longest_iteration_is_measured(reactor: Reactor) -> None:
    assert reactor.longest_iteration() == 0.0
    reactor.at(time.monotonic(), lambda: None)
    assert until(lambda: len(reactor) == 0)
    reactor.longest_iteration()
    reactor.at(time.monotonic(), lambda: time.sleep(0.06))
    reactor.at(time.monotonic() + 0.6, lambda: None)
    assert until(lambda: len(reactor) == 0)
    assert 0.06 <= reactor.longest_iteration() < 5
    assert reactor.longest_iteration() < 0.06


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
    assert until(lambda: len(rung) == 8 * asked)
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
    assert until(lambda: len(reactor) == 0)


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
