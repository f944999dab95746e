"""The thread pool starts few threads, obeys its maximum and loses none to an exception."""

from __future__ import annotations

import _thread
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
from flask_gateway.upstreams.http_upstream import HttpUpstream
from flask_gateway.upstreams.transport.client import UpstreamClient


def names(threads: LifoThreadPool, count: int) -> set[str]:
    """The names of the threads that run so many tasks at the same time."""
    meet, seen = threading.Barrier(count + 1, timeout=10), SimpleQueue[str]()

    def work() -> None:
        seen.put(threading.current_thread().name)
        meet.wait()

    for _ in range(count):
        threads.submit(work)
    meet.wait()
    return {seen.get(timeout=10) for _ in range(count)}


def run(threads: LifoThreadPool, work: object, *args: object) -> None:
    """Run the work on the pool and wait for its end."""
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
        if threads.status().idle == count:
            return
        threading.Event().wait(0.01)
    pytest.fail(f"{threads.status().idle} are idle")


def test_a_thread_starts_only_when_none_is_idle_up_to_the_maximum() -> None:
    threads = LifoThreadPool(3)
    for _ in range(5):
        run(threads, int)
        idle(threads, 1)
    assert threads.status().started == 1
    assert len(names(threads, 3)) == 3
    idle(threads, 3)
    assert len(names(threads, 3)) == 3
    assert threads.status().started == 3
    threads.shutdown()


def test_the_last_used_thread_is_reused_first() -> None:
    threads = LifoThreadPool(8)
    assert len(names(threads, 8)) == 8
    idle(threads, 8)
    seen: set[str] = set()
    for _ in range(20):
        run(threads, lambda: seen.add(threading.current_thread().name))
        idle(threads, 8)
    assert len(seen) == 1
    threads.shutdown()


def test_no_task_is_lost_when_submit_races_with_threads_becoming_idle() -> None:
    threads, done = LifoThreadPool(4), SimpleQueue[int]()
    for number in range(20_000):
        threads.submit(done.put, number)
    assert sorted(done.get(timeout=10) for _ in range(20_000)) == list(range(20_000))
    assert threads.status().started <= 4
    idle(threads, threads.status().started)
    threads.shutdown()


def test_shutdown_may_come_just_before_an_idle_thread_is_taken() -> None:
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


def test_a_signal_handler_may_call_shutdown_during_submit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal is handled on the main thread, which also submits."""
    threads, done = LifoThreadPool(2), SimpleQueue[int]()
    new = threads._start_thread
    monkeypatch.setattr(threads, "_start_thread", lambda: (threads.shutdown(), new())[1])
    threads.submit(done.put, 1)
    assert done.get(timeout=10) == 1


def test_the_pool_goes_on_when_the_system_starts_no_more_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, done, free = LifoThreadPool(3), SimpleQueue[int](), threading.Event()
    threads.submit(free.wait, 10)

    def start(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(_thread, "start_new_thread", start)
        for number in range(3):
            threads.submit(done.put, number)
        with pytest.raises(RuntimeError):
            LifoThreadPool(3).submit(int)
    free.set()
    assert [done.get(timeout=10) for _ in range(3)] == [0, 1, 2]
    assert len(names(threads, 3)) == 3
    threads.shutdown()


def test_the_accepting_thread_does_not_wait_until_a_thread_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, done, begun = LifoThreadPool(3), SimpleQueue[int](), []
    start = _thread.start_new_thread
    with monkeypatch.context() as patched:
        patched.setattr(_thread, "start_new_thread", lambda *thread: begun.append(thread))
        for number in range(3):
            threads.submit(done.put, number)
    assert done.empty()
    for thread in begun:
        start(*thread)
    assert sorted(done.get(timeout=10) for _ in range(3)) == [0, 1, 2]
    threads.shutdown()


def test_work_without_a_free_thread_waits_in_order() -> None:
    threads, free, seen = LifoThreadPool(1), threading.Event(), SimpleQueue[int]()
    threads.submit(free.wait, 10)
    for number in range(5):
        threads.submit(seen.put, number)
    assert seen.empty()
    free.set()
    assert [seen.get(timeout=10) for _ in range(5)] == [0, 1, 2, 3, 4]
    threads.shutdown()


def test_an_exception_does_not_end_a_thread(caplog: pytest.LogCaptureFixture) -> None:
    threads = LifoThreadPool(1)
    threads.submit(lambda: 1 / 0)
    threads.submit(sys.exit, "whatever it is")
    run(threads, int)
    assert threads.status().started == 1
    assert "ZeroDivisionError" in caplog.text
    threads.shutdown()


def test_an_idle_thread_keeps_no_request_alive() -> None:
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


def test_an_idle_thread_keeps_no_upstream_call_alive() -> None:
    """Prompts may be large, and the pool keeps as many idle threads as calls once ran in parallel."""
    listener, reactor, threads = socket.create_server(("127.0.0.1", 0)), Reactor(), LifoThreadPool(1)
    http = UpstreamClient(reactor)
    upstream = HttpUpstream("one", f"http://127.0.0.1:{listener.getsockname()[1]}/v1", None, http, Timeouts())
    listener.close()
    fields: list[weakref.ref[Any]] = []

    class Fields(dict[str, msgspec.Raw]):
        """A dict that can be weakly referenced."""

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


def test_shutdown_runs_the_waiting_work_and_then_ends_all_threads() -> None:
    threads, seen = LifoThreadPool(2), SimpleQueue[int]()
    before = _thread._count()
    for number in range(20):
        threads.submit(seen.put, number)
    threads.shutdown(wait=False)
    assert sorted(seen.get(timeout=10) for _ in range(20)) == list(range(20))
    for _ in range(1000):
        if _thread._count() <= before:
            return
        threading.Event().wait(0.01)
    pytest.fail("there are threads left")
