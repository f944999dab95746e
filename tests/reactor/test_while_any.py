"""Work that is done at a period: for as long as there is any, and again when more comes."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest
from kit.waiting import until

from flask_gateway.reactor.while_any import WhileAny


def test_a_thread_works_while_there_is_any_and_ends() -> None:
    left, threads = [3], set()

    def work() -> bool:
        threads.add(threading.current_thread())
        left[0] -= 1
        return left[0] > 0

    made = WhileAny("work", 0.001, work)
    made.start()
    until(lambda: threads and not any(thread.is_alive() for thread in threads))
    assert left[0] < 0
    left[0] = 2
    made.start()
    until(lambda: left[0] <= 0)
    assert len(threads) == 2


def test_work_that_comes_while_the_thread_ends_is_not_forgotten() -> None:
    todo: list[int] = []

    def work() -> bool:
        found, todo[:] = bool(todo), []
        return found

    made = WhileAny("work", 0.0, work)
    for number in range(300):
        todo.append(number)
        made.start()
        until(lambda: not todo)


def test_where_no_thread_can_start_it_is_done_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    done: list[bool] = []
    made = WhileAny("work", 10.0, lambda: bool(done.append(True)))
    made.start()
    made.start()
    assert len(done) == 2


def test_a_round_that_fails_is_followed_by_others(caplog: pytest.LogCaptureFixture) -> None:
    done: list[int] = []

    def work() -> bool:
        done.append(1)
        if len(done) == 1:
            raise ValueError("the first round")
        return False

    made = WhileAny("work", 0.001, work)
    made.start()
    assert until(lambda: len(done) > 1)
    assert "the first round" in caplog.text


EXITING = """
from flask_gateway.reactor.while_any import WhileAny

def last():
    print("last", flush=True)
    later.start()

WhileAny("never had any", 60, lambda: print("no"))
made = WhileAny("work", 60, lambda: print("no"), last)
later = WhileAny("later", 60, lambda: bool(print("at once", flush=True)))
made.start()
"""


def test_a_process_that_exits_does_the_last_work_and_what_that_leaves() -> None:
    ran = subprocess.run([sys.executable, "-c", EXITING], capture_output=True, text=True, check=True)
    assert (ran.stdout.split("\n"), ran.stderr) == (["last", "at once", ""], "")
