"""Tests that submitted work runs once, even if a thread cannot be started."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from flask_gateway.streaming.submit import run_after, submitted


def refuse(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_work_that_no_thread_took_never_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    held = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        first = submitted(pool, held.wait)  # type: ignore[arg-type]
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            assert submitted(pool, lambda: ran.append("refused")) is None
        held.set()
        last = submitted(pool, lambda: ran.append("last"))
        assert first is not None
        assert last is not None
        wait([first, last])
    assert ran == ["last"]


def test_a_pool_that_has_shut_down_takes_nothing() -> None:
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    assert submitted(pool, lambda: None) is None


def test_work_runs_after_what_was_submitted_before() -> None:
    ran: list[int] = []
    held = threading.Event()

    def late() -> None:
        held.wait()
        ran.append(1)

    with ThreadPoolExecutor(2) as pool:
        before = submitted(pool, late)
        after: Callable[[], None] = lambda: ran.append(2)  # noqa: E731
        submitted(pool, lambda: run_after(before, after))
        held.set()
    assert ran == [1, 2]
