"""Tests that the workers of a server share the memory: they start, are killed, and count together."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import urllib.request

import pytest
from kit.shared_memory import Flags
from kit.stores import Child, free_port, increment, put
from kit.waiting import until

from flask_gateway.state import (
    StoreBusy,
    StoreError,
    open_store,
    shared_memory,
)
from flask_gateway.state.shared_memory import Memory, SharedStore


@pytest.fixture
def file():
    descriptor = os.memfd_create("test")
    yield descriptor
    os.close(descriptor)


def test_state_outlives_the_workers(file: int) -> None:
    def old() -> None:
        SharedStore(Memory(file)).update("key", put((1, 2, 3)), 60)

    def new() -> None:
        shared_memory.attach(file)
        store = SharedStore()
        assert store.read("key") == (1, 2, 3)
        assert store.update("other", increment, 60) == 1

    assert Child(old).wait() == 0
    assert Child(new).wait() == 0
    assert SharedStore(Memory(file)).read("other") == (1,)


def test_workers_that_start_together_share(file: int) -> None:
    flags = Flags()

    def work() -> None:
        assert until(lambda: flags[0])
        store = SharedStore(Memory(file))
        for _ in range(20):
            store.update("key", increment, 60)

    children = [Child(work) for _ in range(8)]
    flags[0] = 1
    assert [child.wait() for child in children] == [0] * 8
    assert SharedStore(Memory(file)).read("key") == (160,)


def test_another_layout_starts_empty_and_leaves_the_old_area_unchanged(
    file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = SharedStore(Memory(file))
    old.update("key", put((1,)), 60)
    monkeypatch.setattr(shared_memory, "LAYOUT", shared_memory.LAYOUT + 1)
    new = SharedStore(Memory(file))
    assert new.read("key") is None
    new.update("key", put((2,)), 60)
    assert SharedStore(Memory(file)).read("key") == (2,)
    assert old.read("key") == (1,)
    monkeypatch.undo()
    assert SharedStore(Memory(file)).read("key") == (1,)


def test_a_worker_killed_during_set_up_leaves_it_to_the_next(file: int) -> None:
    def work() -> None:
        shared_memory.Mutexes.create = lambda self: os.kill(os.getpid(), signal.SIGKILL)
        Memory(file)

    assert Child(work).wait() == -signal.SIGKILL
    size = os.fstat(file).st_size
    assert size > 0
    assert SharedStore(Memory(file)).update("key", increment, 60) == 1
    assert os.fstat(file).st_size == size


def test_a_worker_stopped_during_set_up_delays_the_others_by_a_second(
    file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = Flags()

    def work() -> None:
        shared_memory._lock(file)
        flags[0] = 1
        time.sleep(60)

    monkeypatch.setattr(shared_memory, "_SET_UP_PATIENCE", 0.05)
    with Child(work):
        assert until(lambda: flags[0])
        with pytest.raises(StoreError, match="no shared memory"):
            Memory(file)
    assert SharedStore(Memory(file)).update("key", increment, 60) == 1


@pytest.mark.parametrize(
    "header",
    [
        b"\x01",
        b"too short",
        b"\xff" * 64,
        b"flask-gateway\0\0\0" + bytes(16),
        b"flask-gateway\0\0\0" + b"\1" * 16,
    ],
)
def test_a_damaged_header_is_refused(file: int, header: bytes) -> None:
    os.pwrite(file, header, 0)
    with pytest.raises(StoreError):
        Memory(file)


def test_an_invalid_descriptor_is_refused_and_the_gateway_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shared_memory, "_attached", 9999)
    with pytest.raises(StoreError):
        SharedStore()
    store = open_store("shared://")
    assert store.update("key", increment, 60) == 1
    assert store.degraded
    assert "no shared memory" in store.status().reason


def test_processes_and_threads_lose_no_change() -> None:
    """4 processes of 16 threads. A busy store has written nothing, so a change may be tried again."""
    store, busy = SharedStore(Memory()), Flags()

    def one(key: str, number: int) -> None:
        while True:
            try:
                store.update(key, increment, 60)
                return
            except StoreBusy:
                busy[number] += 1

    def work(number: int) -> None:
        def thread(which: int) -> None:
            for round_ in range(40):
                one("hot", number)
                one(f"{(which + round_) % 16}", number)

        threads = [threading.Thread(target=thread, args=(n,)) for n in range(16)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()

    children = [Child(lambda n=n: work(n)) for n in range(4)]
    assert [child.wait() for child in children] == [0] * 4
    assert store.read("hot") == (4 * 16 * 40,)
    assert [store.read(f"{n}") for n in range(16)] == [(4 * 40,)] * 16
    # A busy store answers by a worker's share, so limits are exact only if that is rare.
    assert sum(busy[n] for n in range(4)) < 4 * 16 * 80 / 20


def test_readers_never_see_a_mixture() -> None:
    """A writer changes all 300 integers at once, as fast as it can."""
    store, flags = SharedStore(Memory()), Flags()
    store.update("key", put((0,) * 300), 60)

    def work() -> None:
        number = 0
        while not flags[0]:
            number += 1
            store.update("key", put((number,) * (1 + number % 300)), 60)

    with Child(work) as child:
        assert until(lambda: store.read("key") != (0,) * 300)  # else a slow start is all that is read
        values = [store.read("key") for _ in range(3000)]
        flags[0] = 1
        assert child.wait() == 0
    assert all(value and len(set(value)) == 1 for value in values)
    numbers = [value[0] for value in values]
    assert numbers == sorted(numbers)
    assert numbers[-1] > 0


@pytest.mark.live
def test_state_outlives_reload_and_kill_under_gunicorn(tmp_path) -> None:
    """Uses the example in the docstring of state/shared_memory.py as configuration."""
    lines = shared_memory.__doc__.partition("::\n")[2].partition("State therefore")[0]
    (tmp_path / "conf.py").write_text(textwrap.dedent(lines))
    (tmp_path / "app.py").write_text(
        "import os\n"
        "from flask_gateway.state.shared_memory import SharedStore\n"
        "store = SharedStore()\n"
        "def count(old, now): return ((old[0] if old else 0) + 1,), (old[0] if old else 0) + 1\n"
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [f'{os.getpid()} {store.update(\"key\", count, 60)}'.encode()]\n"
    )
    port, root = free_port(), os.path.dirname(os.path.dirname(shared_memory.__file__))
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "-c",
        "conf.py",
        "-w",
        "2",
        "-b",
        f"127.0.0.1:{port}",
        "app:app",
    ]
    url = f"http://127.0.0.1:{port}/"
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(root)}
    server = subprocess.Popen(
        [*command, "--no-control-socket"],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

    def ask(of=lambda pid: True) -> tuple[int, int]:
        """The first answer by a worker that is meant: its pid and the count."""
        found = []

        def answered() -> bool:
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2) as reply:
                found[:] = map(int, reply.read().split())
            return bool(found) and of(found[0])

        assert until(answered, 10)
        return tuple(found)

    try:
        first = [ask() for _ in range(20)]
        assert len({count for _, count in first}) == 20
        server.send_signal(signal.SIGHUP)
        old = {pid for pid, _ in first}
        pid, count = ask(lambda pid: pid not in old)
        assert count > 20
        os.kill(pid, signal.SIGKILL)
        assert ask(lambda other: other != pid and other not in old)[1] > count
    finally:
        os.killpg(server.pid, signal.SIGKILL)  # a worker just being forked may miss a gentler signal
        server.wait(10)
