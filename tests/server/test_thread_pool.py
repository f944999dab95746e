"""The threads that serve: no more than are needed, no more than are allowed, none lost to a fault."""

from __future__ import annotations

import gc
import socket
import sys
import threading
import weakref
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

import msgspec
import pytest
from kit.calls import make_call

from flask_gateway.config.schema import Timeouts
from flask_gateway.model.errors import UpstreamUnreachable
from flask_gateway.reactor import Reactor
from flask_gateway.server.thread_pool import LifoThreadPool
from flask_gateway.upstreams.openai import OpenAIUpstream
from flask_gateway.upstreams.transport.client import UpstreamClient


def names(threads: LifoThreadPool, count: int) -> set[str]:
    """Who serves so much work at the same time."""
    meet, seen = threading.Barrier(count + 1, timeout=10), SimpleQueue[str]()

    def work() -> None:
        seen.put(threading.current_thread().name)
        meet.wait()

    for _ in range(count):
        threads.submit(work)
    meet.wait()
    return {seen.get(timeout=10) for _ in range(count)}


def run(threads: LifoThreadPool, work: object, *args: object) -> None:
    """And wait until the thread is idle again: it says so last."""
    done: Future[None] = Future()

    def then() -> None:
        try:
            work(*args)  # type: ignore[operator]
        finally:
            done.set_result(None)

    threads.submit(then)
    done.result(10)


def idle(threads: LifoThreadPool, count: int) -> None:
    for _ in range(1000):
        if len(threads._idle) == count:
            return
        threading.Event().wait(0.01)
    pytest.fail(f"{len(threads._idle)} are idle")


def test_a_thread_is_made_only_when_none_is_idle_and_up_to_so_many() -> None:
    threads = LifoThreadPool(3)
    for _ in range(5):
        run(threads, int)
        idle(threads, 1)
    assert threads._started == 1
    assert len(names(threads, 3)) == 3
    idle(threads, 3)
    assert len(names(threads, 3)) == 3
    assert threads._started == 3
    threads.shutdown()


def test_who_was_busy_last_is_busy_next() -> None:
    threads = LifoThreadPool(8)
    assert len(names(threads, 8)) == 8
    idle(threads, 8)
    seen: set[str] = set()
    for _ in range(20):
        run(threads, lambda: seen.add(threading.current_thread().name))
        idle(threads, 8)
    assert len(seen) == 1
    threads.shutdown()


def test_nothing_is_lost_and_nobody_idles_while_something_waits() -> None:
    """However the giver and those who have just done something meet."""
    threads, done = LifoThreadPool(4), SimpleQueue[int]()
    for number in range(20_000):
        threads.submit(done.put, number)
    assert sorted(done.get(timeout=10) for _ in range(20_000)) == list(range(20_000))
    assert threads._started <= 4
    idle(threads, threads._started)
    threads.shutdown()


def test_the_end_may_be_asked_for_just_before_a_thread_is_taken() -> None:
    threads, done = LifoThreadPool(2), Future[None]()
    run(threads, int)
    idle(threads, 1)

    class Idle(list):  # type: ignore[type-arg]
        def __len__(self) -> int:
            found = list.__len__(self)
            if found and not threads._over:
                threads.shutdown()
            return found

    threads._idle = Idle(threads._idle)
    len(threads._idle)
    threads.submit(done.set_result, None)
    done.result(10)


def test_a_signal_may_ask_for_the_end_while_work_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is handled on the thread that gives the work, wherever that is."""
    threads, done = LifoThreadPool(2), SimpleQueue[int]()
    new = threads._new
    monkeypatch.setattr(threads, "_new", lambda: (threads.shutdown(), new())[1])
    threads.submit(done.put, 1)
    assert done.get(timeout=10) == 1


def test_no_more_threads_to_be_had_is_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, done, free = LifoThreadPool(3), SimpleQueue[int](), threading.Event()
    threads.submit(free.wait, 10)

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        for number in range(3):
            threads.submit(done.put, number)
        with pytest.raises(RuntimeError):
            LifoThreadPool(3).submit(int)
    free.set()
    assert [done.get(timeout=10) for _ in range(3)] == [0, 1, 2]
    assert len(names(threads, 3)) == 3
    threads.shutdown()


def test_what_there_is_no_thread_for_waits_its_turn() -> None:
    threads, free, seen = LifoThreadPool(1), threading.Event(), SimpleQueue[int]()
    threads.submit(free.wait, 10)
    for number in range(5):
        threads.submit(seen.put, number)
    assert seen.empty()
    free.set()
    assert [seen.get(timeout=10) for _ in range(5)] == [0, 1, 2, 3, 4]
    threads.shutdown()


def test_a_fault_costs_no_thread(caplog: pytest.LogCaptureFixture) -> None:
    threads = LifoThreadPool(1)
    threads.submit(lambda: 1 / 0)
    threads.submit(sys.exit, "whatever it is")
    run(threads, int)
    assert threads._started == 1
    assert "ZeroDivisionError" in caplog.text
    threads.shutdown()


def test_an_idle_thread_keeps_nothing_of_what_it_did() -> None:
    class Request:
        def serve(self) -> None:
            pass

    threads, request = LifoThreadPool(1), Request()
    gone = weakref.ref(request)
    threads.submit(request.serve)
    idle(threads, 1)
    del request
    assert gone() is None
    threads.shutdown()


def test_an_idle_thread_keeps_nothing_of_a_call_to_an_upstream() -> None:
    """Prompts may be large, and there are as many idle threads as there once were calls at a time."""
    listener, reactor, threads = socket.create_server(("127.0.0.1", 0)), Reactor(), LifoThreadPool(1)
    http = UpstreamClient(reactor)
    upstream = OpenAIUpstream(
        "one", f"http://127.0.0.1:{listener.getsockname()[1]}/v1", None, http, Timeouts()
    )
    listener.close()
    fields: list[weakref.ref[Any]] = []

    class Fields(dict[str, msgspec.Raw]):
        """So that it can be seen when they are gone."""

    def ask() -> None:
        call = make_call()
        kept = Fields(call.fields)
        fields.append(weakref.ref(kept))
        with suppress(UpstreamUnreachable):
            upstream.send(msgspec.structs.replace(call, fields=kept))

    threads.submit(ask)
    idle(threads, 1)
    gc.collect()
    assert [one() for one in fields] == [None]
    threads.shutdown()
    http.close()
    reactor.close()


def test_what_was_given_before_the_end_is_still_done_and_then_they_end() -> None:
    threads, seen = LifoThreadPool(2), SimpleQueue[int]()
    before = threading.active_count()
    for number in range(20):
        threads.submit(seen.put, number)
    threads.shutdown(wait=False)
    assert sorted(seen.get(timeout=10) for _ in range(20)) == list(range(20))
    for _ in range(1000):
        if threading.active_count() <= before:
            return
        threading.Event().wait(0.01)
    pytest.fail("there are threads left")
