"""Provides store changes, a manual clock, forked children to kill, and a real Redis for tests."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable

import redis

from flask_gateway.state.store import Value
from kit.needs import need
from kit.waiting import until


class HandClock:
    """A clock in microseconds that only ``advance`` moves."""

    def __init__(self, start: int = 1_000_000_000) -> None:
        self.micros = start

    def __call__(self) -> int:
        return self.micros

    def advance(self, seconds: float) -> None:
        self.micros += round(seconds * 1_000_000)


def increment(old: Value | None, now: int) -> tuple[Value, int]:
    """Increment the first integer. The answer is the new count."""
    count = (old[0] if old else 0) + 1
    return (count,), count


def put(value: Value | None):
    """A change that writes ``value`` over any old value."""
    return lambda old, now: (value, None)


def overtaken(store, value: Value):
    """An increment that another write overtakes at its first attempt, and the values that it has seen."""
    seen: list[Value | None] = []

    def change(old: Value | None, now: int) -> tuple[Value, int]:
        seen.append(old)
        if len(seen) == 1:
            store.update("key", put(value), 60)
        return increment(old, now)

    return change, seen


def keep(old: Value | None, now: int) -> tuple[Value | None, Value | None]:
    """A change that writes nothing and answers the stored value."""
    return old, old


class Take:
    """Admits ``limit`` in total: a change with a Lua twin and shares. Answers (admitted, taken)."""

    script = """
      local value = load() or {0, 0}
      local limit, step = arguments[1], arguments[2]
      if value[1] + step > limit then return {0, value[1]} end
      save({value[1] + step, now})
      return {1, value[1] + step}
    """

    def __init__(self, limit: int, step: int = 1) -> None:
        self.arguments = (limit, step)

    def __call__(self, old: Value | None, now: int) -> tuple[Value | None, tuple[bool, int]]:
        limit, step = self.arguments
        taken = old[0] if old else 0
        if taken + step > limit:
            return old, (False, taken)
        return (taken + step, now), (True, taken + step)

    def answer(self, ints: tuple[int, ...]) -> tuple[bool, int]:
        return bool(ints[0]), ints[1]

    def divided(self, share: int) -> Take:
        limit, step = self.arguments
        return Take(max(1, limit // share), step)


class Child:
    """A forked process that runs ``work`` and exits. The ``with`` block kills it at its end."""

    def __init__(self, work: Callable[[], object]) -> None:
        sys.stdout.flush()
        with warnings.catch_warnings():  # Python 3.12 warns of threads; these children start their own
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                work()
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        self._status: int | None = None

    def wait(self, seconds: float = 20.0) -> int:
        """Its exit code, negative for a signal."""
        deadline = time.monotonic() + seconds
        while self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
                break
            assert time.monotonic() < deadline, "a child did not end"
            time.sleep(0.001)
        return self._status

    def kill(self) -> None:
        if self._status is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()

    def stop(self) -> None:
        """Stop it with SIGSTOP, and wait until it has stopped."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()


def free_port() -> int:
    """A free port below the kernel's ephemeral range, whose ports other processes may get at any moment."""
    while True:
        port = random.SystemRandom().randrange(12_000, 32_000)
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("", port))
            return port


class RedisServer:
    """A real redis-server on a free port, without persistence."""

    def __init__(self, *options: str) -> None:
        need("redis-server")
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._command = [
            *("redis-server", "--port", str(self.port), "--bind", "127.0.0.1"),
            *("--save", "", "--appendonly", "no", "--daemonize", "no", *options),
        ]
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        assert until(self._listens)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def client(self, **options) -> redis.Redis:
        return redis.Redis.from_url(self.url, **options)

    def call(self, *command: object) -> object:
        with self.client() as client:
            return client.execute_command(*command)

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> RedisServer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()
