"""Tests the cancellation of calls: the first error counts; aborts run at most once, never after detach."""

from __future__ import annotations

import threading
import time
from functools import partial

import pytest

from flask_gateway.model.cancellation import Cancellation
from flask_gateway.model.errors import CallerLeft, DeadlineExceeded


def test_a_failing_abort_does_not_stop_other_aborts(caplog: pytest.LogCaptureFixture) -> None:
    cancellation = Cancellation()
    called: list[int] = []

    def broken() -> None:
        called.append(1)
        raise RuntimeError("bug")

    cancellation.attach(broken)
    cancellation.attach(lambda: called.append(2))
    cancellation.cancel(CallerLeft("gone"))
    assert called == [1, 2]
    assert "bug" in caplog.text


def test_the_first_error_counts() -> None:
    cancellation = Cancellation()
    called: list[int] = []
    cancellation.attach(lambda: called.append(1))
    assert cancellation.error is None
    first = CallerLeft("gone")
    cancellation.cancel(first)
    cancellation.cancel(DeadlineExceeded("late"))
    assert cancellation.error is first
    assert called == [1]


def test_an_abort_attached_after_the_cancel_runs_at_once_and_once() -> None:
    cancellation = Cancellation()
    cancellation.cancel(CallerLeft("gone"))
    called: list[int] = []
    detach = cancellation.attach(lambda: called.append(threading.get_ident()))
    assert called == [threading.get_ident()]
    detach()
    detach()
    cancellation.cancel(CallerLeft("gone"))
    assert len(called) == 1


def test_a_detached_abort_is_not_called() -> None:
    cancellation = Cancellation()
    called: list[int] = []
    detach = cancellation.attach(lambda: called.append(1))
    cancellation.attach(lambda: called.append(2))
    detach()
    detach()
    cancellation.cancel(CallerLeft("gone"))
    assert called == [2]


def test_detach_waits_for_a_running_abort() -> None:
    cancellation = Cancellation()
    inside, over = threading.Event(), threading.Event()

    def slow() -> None:
        inside.set()
        time.sleep(0.1)
        over.set()

    detach = cancellation.attach(slow)
    canceller = threading.Thread(target=cancellation.cancel, args=(CallerLeft("gone"),))
    canceller.start()
    assert inside.wait(2)
    detach()
    assert over.is_set()
    canceller.join()


def test_an_abort_may_detach_itself_and_others() -> None:
    cancellation = Cancellation()
    called: list[int] = []
    detaches = []

    def first() -> None:
        called.append(1)
        for detach in detaches:
            detach()

    detaches.append(cancellation.attach(first))
    detaches.append(cancellation.attach(lambda: called.append(2)))
    cancellation.cancel(CallerLeft("gone"))
    assert called == [1]


def test_no_lock_is_held_during_an_abort() -> None:
    cancellation = Cancellation()
    seen: list[object] = []

    def look() -> None:
        seen.append(cancellation.error)
        cancellation.attach(lambda: seen.append("attached"))
        cancellation.cancel(CallerLeft("again"))

    cancellation.attach(look)
    cancellation.cancel(CallerLeft("gone"))
    assert seen == [cancellation.error, "attached"]


def test_no_abort_is_called_after_its_detach_in_any_race() -> None:
    """Cancel and detach at the same moment, many times: it runs before the detach returns, or never."""
    late: list[int] = []
    called = 0
    for number in range(1000):
        cancellation = Cancellation()
        detached = False

        def abort(number: int = number) -> None:
            nonlocal called
            called += 1
            if detached:  # noqa: B023  # it is this very variable that is looked at
                late.append(number)

        detach = cancellation.attach(abort)
        canceller = threading.Thread(target=cancellation.cancel, args=(CallerLeft("gone"),))
        canceller.start()
        for _ in range(number % 200):
            pass
        detach()
        detached = True
        canceller.join()
    assert late == []
    assert called <= 1000


def test_an_abort_attached_during_the_cancel_is_called_exactly_once() -> None:
    for _ in range(300):
        cancellation = Cancellation()
        called: list[int] = []
        threads = [
            threading.Thread(target=cancellation.attach, args=(partial(called.append, number),))
            for number in range(3)
        ]
        threads.insert(1, threading.Thread(target=cancellation.cancel, args=(CallerLeft("gone"),)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(called) == [0, 1, 2]


def test_a_wait_ends_when_the_call_is_cancelled() -> None:
    cancellation = Cancellation()
    assert cancellation.wait(0.01) is False
    threading.Timer(0.05, cancellation.cancel, (CallerLeft("gone"),)).start()
    begun = time.monotonic()
    assert cancellation.wait(5) is True
    assert time.monotonic() - begun < 4
    assert cancellation.wait(5) is True
