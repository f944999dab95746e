"""Tests the thread that calls a function periodically."""

from __future__ import annotations

import threading
from unittest.mock import patch

import pytest
from kit.waiting import until

from flask_gateway.reactor import Periodic


def test_an_exception_does_not_end_the_thread(caplog: pytest.LogCaptureFixture) -> None:
    calls, called = iter([ValueError("once"), None]), threading.Event()

    def work() -> None:
        error = next(calls)
        if error is not None:
            raise error
        called.set()
        threading.Event().wait()

    Periodic("work", 0.001, work).start()
    assert called.wait(30)
    assert "a call of the thread 'work' failed" in caplog.text


def test_a_call_is_made_at_once_when_it_is_due() -> None:
    called = threading.Semaphore(0)
    periodic = Periodic("work", 3600.0, called.release)
    periodic.start()
    for _ in range(3):
        periodic.call_soon()
        assert called.acquire(timeout=30)


def test_without_a_thread_the_next_start_tries_again() -> None:
    called = threading.Event()
    periodic = Periodic("work", 0.001, called.set)
    with patch.object(threading.Thread, "start", side_effect=RuntimeError("can't start new thread")):
        periodic.start()
    assert not periodic.running
    periodic.start()
    assert periodic.running
    assert called.wait(30)


def test_it_makes_no_call_after_a_stop() -> None:
    calls: list[int] = []
    periodic = Periodic("stopped", 0.001, lambda: calls.append(1))
    periodic.start()
    assert until(lambda: calls)
    periodic.stop()
    made = len(calls)
    periodic.call_soon()
    assert "stopped" not in [thread.name for thread in threading.enumerate()]
    assert len(calls) == made


def test_a_stop_within_a_call_ends_the_thread_after_it() -> None:
    called = threading.Event()

    def work() -> None:
        periodic.stop()
        called.set()

    periodic = Periodic("stops itself", 0.001, work)
    periodic.start()
    assert called.wait(30)
    assert until(lambda: "stops itself" not in [thread.name for thread in threading.enumerate()])


def test_it_starts_one_thread_only() -> None:
    periodic = Periodic("only one", 3600.0, lambda: None)
    for _ in range(5):
        periodic.start()
    assert [thread.name for thread in threading.enumerate()].count("only one") == 1
