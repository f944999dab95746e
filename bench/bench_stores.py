"""Measures a state update: its CPU time alone, and its wall time under load.

    python bench/bench_stores.py [memory] [shared] [redis]

For the second table, two processes of 64 threads each compute 300 µs, update one common key, sleep 1 ms, and
repeat. The figure is the wall time of the update. ``busy`` counts the calls that a fallback would have
served. Redis is a private redis-server on a free port without persistence; it shares the CPU with the two
processes. About 10 s.
"""

from __future__ import annotations

import os
import pickle
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from flask_gateway.state import StoreError
from flask_gateway.state.memory import MemoryStore
from flask_gateway.state.redis import RedisStore
from flask_gateway.state.shared_memory import Memory, SharedStore
from flask_gateway.state.store import Store, Value

PROCESSES, THREADS = 2, 64
COMPUTE, SLEEP = 300e-6, 1e-3
SECONDS = 1.5
KEY = "limit:bench"


class Count:
    """Counts in the first of ``size`` integers, in Python and in Lua."""

    arguments = ()
    script = """
      local value = load()
      if not value then value = {} for i = 1, 4 do value[i] = 0 end end
      value[1] = value[1] + 1
      save(value)
      return {value[1]}
    """

    def __init__(self, size: int = 4) -> None:
        self._start = (0,) * size

    def __call__(self, old: Value | None, now: int) -> tuple[Value, int]:
        first, *rest = old or self._start
        return (first + 1, *rest), first + 1

    def answer(self, ints: tuple[int, ...]) -> int:
        return ints[0]


def unchanged(old: Value | None, now: int) -> tuple[Value | None, None]:
    return old, None


def progress(text: str) -> None:
    print(f"  … {text}", file=sys.stderr, flush=True)


# ---------------------------------------------------------------- one process


def cpu(call: Callable[[], object], seconds: float = 0.3) -> tuple[float, float]:
    """CPU time and wall time per call, µs."""
    calls, begun, spent = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - begun < seconds:
        for _ in range(50):
            call()
        calls += 50
    return (time.process_time() - spent) / calls * 1e6, (time.perf_counter() - begun) / calls * 1e6


def alone(name: str, make: Callable[[], Store]) -> list[tuple[str, str, float, float]]:
    store, count, window, generic = make(), Count(), Count(256), Count().__call__
    store.update(KEY, count, 60)
    store.update("window", window.__call__, 60)
    cases = {
        "update of 4 integers": lambda: store.update(KEY, count, 60),
        "update of 256 integers": lambda: store.update("window", window.__call__, 60),
        "update that changes nothing": lambda: store.update(KEY, unchanged, 60),
        "read": lambda: store.read(KEY),
    }
    if name == "redis":
        cases["update of 4 integers, no twin"] = lambda: store.update(KEY, generic, 60)
    rows = []
    for case, call in cases.items():
        progress(f"{name}: {case}")
        rows.append((name, case, *cpu(call)))
    return rows


# ---------------------------------------------------------------- under load


def crowd(store: Store, results: int) -> None:
    """Run the threads of a process. Writes their wall times and the number of busy calls to a pipe."""
    times: list[float] = []
    busy: list[str] = []
    over = time.perf_counter() + SECONDS

    def work() -> None:
        count = Count()
        while time.perf_counter() < over:
            until = time.perf_counter() + COMPUTE
            while time.perf_counter() < until:
                pass
            begun = time.perf_counter()
            try:
                store.update(KEY, count, 60)
            except StoreError as error:
                busy.append(str(error))
            times.append(time.perf_counter() - begun)
            time.sleep(SLEEP)

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with os.fdopen(results, "wb") as pipe:
        pickle.dump((times, len(busy)), pipe)


def everybody(name: str, make: Callable[[], Store]) -> tuple[str, float, float, float, float, int]:
    progress(f"{name}: {PROCESSES} processes of {THREADS} threads, {SECONDS} s")
    store = make()
    pipes = []
    for _ in range(PROCESSES):
        receive, send = os.pipe()
        if os.fork() == 0:
            os.close(receive)
            crowd(store, send)
            os._exit(0)
        os.close(send)
        pipes.append(receive)
    times, busy = [], 0
    for receive in pipes:
        with os.fdopen(receive, "rb") as pipe:
            some, more = pickle.load(pipe)
        times += some
        busy += more
    for _ in pipes:
        os.wait()
    times.sort()
    p50, p99 = (times[int(len(times) * share)] * 1e6 for share in (0.5, 0.99))
    return name, p50, p99, times[-1] * 1e6, len(times) / SECONDS / PROCESSES, busy


# ---------------------------------------------------------------- all


def redis_server() -> tuple[subprocess.Popen, str]:
    program = shutil.which("redis-server")
    if not program:
        sys.exit("redis-server is missing: install the package redis-server, or name other stores")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    server = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
    time.sleep(0.3)
    return server, f"redis://127.0.0.1:{port}/0"


def main() -> None:
    names = sys.argv[1:] or ["memory", "shared", "redis"]
    server, url = redis_server() if "redis" in names else (None, "")
    makers = {
        "memory": MemoryStore,
        "shared": lambda: SharedStore(Memory()),
        "redis": lambda: RedisStore(url),
    }
    try:
        single = [row for name in names for row in alone(name, makers[name])]
        many = [everybody(name, makers[name]) for name in names]
    finally:
        if server:
            server.kill()
            server.wait()
    print(f"\n{'store':8} {'alone':32} {'CPU µs':>8} {'time µs':>8}")
    for name, case, spent, took in single:
        print(f"{name:8} {case:32} {spent:8.1f} {took:8.1f}")
    columns = f"{'p50 µs':>8} {'p99 µs':>8} {'max µs':>8} {'updates/s/process':>18} {'busy':>6}"
    print(f"\n{'store':8} {f'{PROCESSES} x {THREADS} threads, one key':24} {columns}")
    for name, p50, p99, most, rate, busy in many:
        print(f"{name:8} {'':24} {p50:8.1f} {p99:8.1f} {most:8.0f} {rate:18.0f} {busy:6}")
    print("\nmemory is not shared: each process counts alone.")


if __name__ == "__main__":
    main()
