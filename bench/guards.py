"""Measures the guards of one request: limiter, breaker and lease, admitted and settled.

    python bench/guards.py [--rounds 7] [--calls 4000]

The rounds alternate between memory and shared memory, so that load on the machine affects both. The figure is
the median of the rounds: CPU time of this process per request. If a redis-server is installed, it is started
on a free port to count round trips.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

sys.path.insert(0, str(Path(__file__).parent.parent))

from flask_gateway.guards.breaker import Breaker
from flask_gateway.guards.breaker_state import Policy
from flask_gateway.guards.bulkhead import UpstreamBulkhead
from flask_gateway.guards.leases import ConcurrencyLeases
from flask_gateway.guards.rate_limiter import RateLimiter
from flask_gateway.guards.sliding_window import BUCKETS
from flask_gateway.model.call import Call, Caller, Ids, Operation, Outcome
from flask_gateway.model.errors import Verdict
from flask_gateway.model.protocols import Guard
from flask_gateway.state import REMEMBER, open_store
from flask_gateway.state.memory import MemoryStore
from flask_gateway.state.redis import RedisStore
from flask_gateway.state.store import SECOND, Store

#: Requests a minute: one limit is counted exactly, one in buckets.
LIMITS = {f"limit {BUCKETS} (exact)": BUCKETS, "limit 1000000 (grains)": 1_000_000}
DONE = Outcome(Verdict.SUCCESS)


def call_of(limit: int) -> Call:
    """A call of a caller with this limit."""
    return Call(
        ids=Ids("r", "t", "00"),
        caller=Caller("team-a", limit),
        operation=Operation.CHAT,
        model="m",
        fields={"model": msgspec.Raw(b'"m"')},
        stream=False,
        started=0.0,
    )


def guards(store: Store, limit: int) -> list[Guard]:
    """The guards of a request, in order. The windows admit every call, and are long enough that the log of
    the last one is half full, or full."""
    return [
        RateLimiter(store, window=2.0 if limit > BUCKETS else 0.002),
        Breaker("llama", store, Policy(5, 30 * SECOND, 12 * SECOND)),
        UpstreamBulkhead("llama", 64, ConcurrencyLeases(store)),
    ]


def request(store: Store, limit: int) -> Callable[[], None]:
    """Pass one request through its guards."""
    call, passed = call_of(limit), guards(store, limit)

    def once() -> None:
        permits = [guard.admit(call) for guard in passed]
        for permit in reversed(permits):
            permit.settle(DONE)

    return once


def cpu(once: Callable[[], None], calls: int) -> float:
    """CPU time per call, µs."""
    begun = time.process_time_ns()
    for _ in range(calls):
        once()
    return (time.process_time_ns() - begun) / calls / 1000


def measure(stores: dict[str, Store], limit: int, rounds: int, calls: int) -> dict[str, float]:
    requests = {name: request(store, limit) for name, store in stores.items()}
    figures: dict[str, list[float]] = {name: [] for name in stores}
    for number in range(rounds + 1):
        for name, once in requests.items():
            figure = cpu(once, calls)
            if number:  # the first round warms up
                figures[name].append(figure)
        print(f"  round {number}/{rounds}", end="\r", file=sys.stderr, flush=True)
    return {name: statistics.median(values) for name, values in figures.items()}


class Counting(RedisStore):
    """Counts the commands that it sends."""

    sent = 0

    def _call(self, *command: int | str | bytes) -> Any:
        self.sent += 1
        return super()._call(*command)


@contextmanager
def redis() -> Iterator[Counting | None]:
    program = shutil.which("redis-server")
    if program is None:
        yield None
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        time.sleep(0.5)
        yield Counting(f"redis://127.0.0.1:{port}/0", REMEMBER)
    finally:
        server.kill()
        server.wait()


def print_round_trips(calls: int = 200) -> None:
    with redis() as store:
        if store is None:
            print("\nRedis: not measured, there is no redis-server here")
            return
        print("\nRound trips to Redis per request")
        call = call_of(1_000_000)
        for guard in guards(store, 1_000_000):
            guard.admit(call).settle(DONE)
            before = store.sent
            for _ in range(calls):
                guard.admit(call).settle(DONE)
            print(f"{type(guard).__name__:24}{(store.sent - before) / calls:12.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=4000)
    options = parser.parse_args()
    stores: dict[str, Store] = {"memory://": MemoryStore(), "shared://": open_store("shared://")}
    print("CPU per request of limiter, breaker and one slot, microseconds, median of rounds\n")
    print(f"{'':24}{'memory://':>12}{'shared://':>12}")
    for title, limit in LIMITS.items():
        figures = measure(stores, limit, options.rounds, options.calls)
        print(f"{title:24}" + "".join(f"{figure:12.1f}" for figure in figures.values()))
    print_round_trips()


if __name__ == "__main__":
    main()
