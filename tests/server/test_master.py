"""The master kills a silent worker, but not for time in which the machine stood still."""

from __future__ import annotations

import logging
import signal
from types import SimpleNamespace

import pytest

from flask_gateway.server import master
from flask_gateway.server.master import Master


class Now:
    def __init__(self) -> None:
        self.time = 1000.0

    def monotonic(self) -> float:
        return self.time


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Now:
    found = Now()
    monkeypatch.setattr(master, "time", found)
    monkeypatch.setattr(master.arbiter, "time", found)
    return found


@pytest.fixture
def killed(now: Now, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    monkeypatch.setattr(Master, "kill_worker", lambda _, pid, sig: found.append((pid, sig)))
    return found


def made(now: Now) -> tuple[Master, SimpleNamespace]:
    """A master with one worker, whose heartbeat the test triggers."""
    found, beat = Master.__new__(Master), [now.time]
    tmp = SimpleNamespace(last_update=lambda: beat[0])
    worker = SimpleNamespace(tmp=tmp, aborted=False, beat=lambda: beat.__setitem__(0, now.time))
    found.timeout, found.log, found.WORKERS = 30, logging.getLogger("test"), {7: worker}
    return found, worker


def test_a_silent_worker_is_killed(now: Now, killed: list[tuple[int, int]]) -> None:
    found, _ = made(now)
    for _ in range(32):
        found.murder_workers()
        now.time += 1
    assert killed == [(7, signal.SIGABRT)]


def test_time_in_which_the_machine_stood_still_does_not_count(
    now: Now, killed: list[tuple[int, int]]
) -> None:
    found, worker = made(now)
    found.murder_workers()
    now.time += 600  # the machine is suspended
    for _ in range(29):  # the worker is slow to wake
        found.murder_workers()
        now.time += 1
    assert not killed
    worker.beat()
    for _ in range(35):
        found.murder_workers()
        now.time += 1
    assert killed[0] == (7, signal.SIGABRT)  # now only the worker is silent
