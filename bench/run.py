"""Compares the cost of the gateway and other servers: ``make bench``, or ``python -m bench.run [NAME …]``.

The CPU time is that of each server's process tree, per request or event, as the kernel counts it: on a busy
machine it is steadier than wall time. The servers alternate, round by round, and the median counts.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from . import goals, keys, page, peers, servers
from .crowded import beside
from .load import cost
from .table import plot, show
from .wrk import Numbers, chat, chat_body, wrk


def say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


class Bench:
    """The servers under test, by name, and the results."""

    def __init__(self, rounds: int, seconds: int, servers: list[str], before: Path | None = None) -> None:
        self.before = before
        self.servers = servers
        self.rounds = rounds
        self.seconds = seconds
        self.found: dict[str, dict[str, Numbers]] = {}
        self.skipped: list[str] = []

    def measure(self, what: str, ways: dict[str, Callable[[], Numbers]]) -> None:
        """Measure every server, round by round. Returns the median of each number."""
        rounds: dict[str, list[Numbers]] = {name: [] for name in ways}
        for number in range(1, self.rounds + 1):
            for name, way in ways.items():
                rounds[name].append(way())
                first, value = next(iter(rounds[name][-1].items()))
                say(f"{what}, round {number}/{self.rounds}, {name}: {first} {value:.1f}")
        self.found[what] = {
            name: {key: statistics.median(one[key] for one in seen) for key in seen[0]}
            for name, seen in rounds.items()
        }


# ---------------------------------------------------------------- buffered answers


def run_chat(
    bench: Bench,
    sizes: dict[str, int],
    connections: tuple[int, ...],
    upstream_of: Callable[[], AbstractContextManager[str]] = servers.json_upstream,
    kind: str = "chat",
) -> None:
    with ExitStack() as stack:
        upstream = stack.enter_context(upstream_of())
        up = {name: begin(stack, bench, name, upstream) for name in bench.servers}
        up = {name: one for name, one in up.items() if one is not None}
        for label, size in sizes.items():
            body = chat_body(size)
            for count in connections:
                ways = {
                    name: lambda one=one, count=count, body=body: chat(*one, count, bench.seconds, body)
                    for name, one in up.items()
                }
                bench.measure(f"{kind}, {label}, {count} connections", ways)


# ---------------------------------------------------------------- streams


#: Streams get so many extra seconds to finish. The CPU time is divided by the events until then.
GRACE = 30.0


def streams(
    process: subprocess.Popen, url: str, count: int, tokens: int, rate: int, spread: float = 0.0
) -> Numbers:
    before = cost.cpu(process.pid)
    seen = call(f"{url}/v1/chat/completions", count, tokens, rate, spread)
    cpu = cost.cpu(process.pid) - before
    if seen["verdicts"] != {"ok": count}:
        say(f"  {url}: {seen['verdicts']}")
    return {
        "cpu_us": cpu / max(1, seen["events"]) * 1e6,
        "whole": seen["verdicts"].get("ok", 0),
        "unfinished": seen["verdicts"].get("unfinished", 0),
        "at_once": seen["at_once"],
        "first_p50_ms": (seen["first_byte_p50"] or 0) * 1000,
        "first_p99_ms": (seen["first_byte_p99"] or 0) * 1000,
        "delay_p50_ms": (seen["delay_p50"] or 0) * 1000,
        "delay_p99_ms": (seen["delay_p99"] or 0) * 1000,
        "memory_mb": cost.memory(process.pid),
    }


def call(url: str, count: int, tokens: int, rate: int, spread: float) -> dict[str, Any]:
    shape = [str(count), str(tokens), str(rate)]
    limit = tokens / rate + spread + GRACE
    command = [sys.executable, "-m", "bench.load.callers", url, *shape, servers.KEY, str(spread), str(limit)]
    done = subprocess.run(command, cwd=servers.ROOT, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def run_streams(bench: Bench, counts: tuple[tuple[int, int, int, float], ...], workers: int = 2) -> None:
    """:param counts: streams, events of each, events a second, and the seconds over which they begin.
    :param workers: of each server."""
    each = "" if workers == 2 else f", {workers} worker each"
    with ExitStack() as stack:
        upstream = stack.enter_context(servers.stream_upstream())
        able = [name for name in bench.servers if name not in peers.NO_STREAMS]
        up = {name: begin(stack, bench, name, upstream, workers) for name in able}
        for count, tokens, rate, spread in counts:
            ways = {
                name: lambda one=one, shape=(count, tokens, rate, spread): streams(*one, *shape)
                for name, one in up.items()
                if one is not None
            }
            bench.measure(f"streams, {count} at {rate}/s{each}", ways)


# ---------------------------------------------------------------- other measurements


def run_beside(bench: Bench) -> None:
    """Measures other calls during a thousand streams: buffered answers and health checks."""
    with ExitStack() as stack:
        upstream = stack.enter_context(servers.stream_upstream())
        port = servers.free_port()
        both = f"up={upstream};mock=mock://local"
        process = servers.gateway(upstream, port, GATEWAY_UPSTREAMS=both, GATEWAY_DEFAULT_UPSTREAM="up")
        stack.enter_context(process)
        for rate in (5, 20):
            ways = {"gateway": partial(beside, f"http://127.0.0.1:{port}", rate)}
            bench.measure(f"beside 1000 streams at {rate}/s", ways)


def run_memory(bench: Bench) -> None:
    def idle(name: str) -> Numbers:
        with servers.json_upstream() as upstream, ExitStack() as stack:
            process, url = begin(stack, bench, name, upstream) or (None, "")
            assert process is not None
            wrk(url, 8, 1, chat_body(200))
            time.sleep(1)
            return {"memory_mb": cost.memory(process.pid)}

    def starts(name: str) -> Numbers:
        with servers.json_upstream() as upstream, ExitStack() as stack:
            _, url = begin(stack, bench, name, upstream) or (None, "")
            return {"seconds": servers.STARTED[url]}

    ours = ("gateway", goals.ALL_ON)
    bench.measure("memory, idle", {name: partial(idle, name) for name in ours})
    bench.measure("start to first answer", {name: partial(starts, name) for name in ours})


def run_flat(bench: Bench, requests: int) -> None:
    """Checks that memory stays flat while the gateway answers."""
    with servers.json_upstream() as upstream, ExitStack() as stack:
        process, url = begin(stack, bench, "gateway", upstream) or (None, "")
        assert process is not None
        points: dict[str, Numbers] = {}
        seen = 0.0
        while seen < requests:
            seen += wrk(url, 32, 10, chat_body(200))["requests"]
            points[f"{seen:.0f}"] = {"memory_mb": cost.memory(process.pid)}
            say(f"flat: {seen:.0f} requests, {points[f'{seen:.0f}']['memory_mb']:.1f} MB")
        bench.found["memory over requests"] = points


def begin(
    stack: ExitStack, bench: Bench, name: str, upstream: str, workers: int = 2
) -> tuple[subprocess.Popen, str] | None:
    """Start a server. Returns ``None``, and prints the reason, if that is impossible."""
    ways = {
        "nginx": servers.nginx_proxy,
        "passthrough": servers.passthrough,
        "gateway": servers.gateway,
        goals.ALL_ON: keys.everything_on,
        **peers.WAYS,
    }
    port = servers.free_port()
    try:
        process = stack.enter_context(ways[name](upstream, port, workers))
    except (servers.Missing, RuntimeError) as error:
        say(f"not run: {name}: {error}")
        bench.skipped.append(f"{name}: {str(error).splitlines()[0]}")
        return None
    return process, f"http://127.0.0.1:{port}"


def run_goals(bench: Bench) -> None:
    """Measures all that the goals name."""
    for name in ("chat", "opening", "streams", "thousand", "prompts", "memory"):
        RUNS[name](bench)


def run_curves(bench: Bench) -> None:
    """Measures workers and threads: buffered answers at 32 connections, and 200 streams."""
    shapes = [(workers, threads) for workers in (1, 2, 4) for threads in (16, 64, 128)]
    body = chat_body(200)

    def one(upstream: str, workers: int, threads: int, measure: Callable[..., Numbers]) -> Numbers:
        port = servers.free_port()
        with servers.gateway(upstream, port, workers, GATEWAY_THREADS=str(threads)) as process:
            return measure(process, f"http://127.0.0.1:{port}")

    kinds: list[tuple[str, Callable[[], Any], Callable[..., Numbers]]] = [
        ("chat, 32 connections", servers.json_upstream, lambda *at: chat(*at, 32, bench.seconds, body)),
        ("streams, 200 at 50/s", servers.stream_upstream, lambda *at: streams(*at, 200, 200, 50)),
    ]
    for label, upstream_of, measure in kinds:
        with upstream_of() as upstream:
            ways = {
                f"{workers} x {threads}": partial(one, upstream, workers, threads, measure)
                for workers, threads in shapes
            }
            bench.measure(f"workers x threads: {label}", ways)


def run_pinned(bench: Bench) -> None:
    """Measures the gain of pinning each worker to its own core."""
    workers, body = len(os.sched_getaffinity(0)), chat_body(200)
    with servers.json_upstream() as upstream, ExitStack() as stack:
        up = {}
        for pinned in ("auto", "off"):
            port = servers.free_port()
            process = servers.gateway(upstream, port, workers, GATEWAY_PIN_WORKERS=pinned)
            up[pinned] = stack.enter_context(process), f"http://127.0.0.1:{port}"
        for count in (8, 32):
            ways = {name: partial(chat, *one, count, bench.seconds, body) for name, one in up.items()}
            bench.measure(f"workers pinned: chat, {count} connections", ways)


def run_keys(bench: Bench) -> None:
    """Measures what the kinds of keys cost more: buffered answers, and events of streams."""
    body = chat_body(200)
    kinds: list[tuple[str, Callable[[], Any], Callable[..., Numbers]]] = [
        ("chat, 8 connections", servers.json_upstream, lambda *at: chat(*at, 8, bench.seconds, body)),
        ("streams, 200 at 50/s", servers.stream_upstream, lambda *at: streams(*at, 200, 300, 50, 1)),
    ]
    for label, upstream_of, measure in kinds:
        with upstream_of() as upstream, ExitStack() as stack:
            ways = {}
            for name, kind in keys.KINDS.items():
                port = servers.free_port()
                process = stack.enter_context(keys.gateway(kind, upstream, port))
                ways[name] = partial(measure, process, f"http://127.0.0.1:{port}")
            if bench.before is not None:
                port = servers.free_port()
                old = keys.gateway(keys.Kind(), upstream, port, before=bench.before)
                ways["a key of the settings, before"] = partial(
                    measure, stack.enter_context(old), f"http://127.0.0.1:{port}"
                )
            bench.measure(f"kinds of keys: {label}", ways)


def run_page(bench: Bench) -> None:
    """Measures calls with the page and without it, each page with full rings, and open live pages."""
    with servers.json_upstream() as upstream, ExitStack() as stack:
        ways, port = {}, 0
        for name, on in (("without the page", False), ("with the page", True)):
            port = servers.free_port()
            process = stack.enter_context(page.gateway(upstream, port, page=on))
            ways[name] = partial(chat, process, f"http://127.0.0.1:{port}", 8, bench.seconds, chat_body(200))
        bench.measure("the page: chat, 8 connections", ways)
        each = {path: partial(page.page_cost, process, port, path) for path in page.PAGES}
        bench.measure("the page: one page, full rings", each)
        live = {f"{pages} live pages": partial(page.live_cost, process, port, pages) for pages in (0, 100)}
        bench.measure("the page: live pages, nothing else", live)


RUNS: dict[str, Callable[[Bench], None]] = {
    "chat": lambda bench: run_chat(bench, {"short": 200}, (8, 32)),
    # Not nginx, which answers before it has read a long body, and closes.
    "prompts": lambda bench: run_chat(
        bench, {"short": 200, "1 MB": 1_000_000}, (4,), servers.stream_upstream, "prompts"
    ),
    # Short streams that begin at once: half of their cost is the opening.
    "opening": lambda bench: run_streams(bench, ((100, 50, 50, 0), (300, 50, 50, 0))),
    # The cost of an event shows while all streams are in flight: they begin within a second, and last six.
    "streams": lambda bench: run_streams(bench, ((200, 300, 50, 1),)),
    "alone": lambda bench: run_streams(bench, ((200, 300, 50, 1),), workers=1),
    # As many events from a tenth of the streams: the difference is the cost of cold CPU caches.
    "few": lambda bench: run_streams(bench, ((20, 3000, 500, 1), (200, 300, 50, 1))),
    "thousand": lambda bench: run_streams(bench, ((200, 200, 50, 0), (1000, 200, 50, 0))),
    "crowd": lambda bench: run_streams(bench, ((1000, 200, 50, 0), (4000, 80, 2, 20))),
    "beside": run_beside,
    "memory": run_memory,
    "goals": run_goals,
    "flat": lambda bench: run_flat(bench, 200_000),
    "curves": run_curves,
    "pinned": run_pinned,
    "page": run_page,
    "keys": run_keys,
}
ALL = ("chat", "prompts", "streams", "alone", "memory")
MORE = ("thousand", "crowd", "beside", "flat")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=ALL, help=f"of {', '.join(RUNS)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5, help="of each run with wrk")
    known = ("nginx", "passthrough", "gateway", goals.ALL_ON, *peers.wanted())
    parser.add_argument("--servers", nargs="+", choices=known, default=known, help="all, if none is named")
    parser.add_argument(
        "--before", type=Path, metavar="DIR", help="for `keys`: a checkout of acc6239, to compare with"
    )
    parser.add_argument("--out", type=Path, default=Path("bench/results"))
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - RUNS.keys():
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(RUNS)}")
    # Started servers are stopped, as with Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(65536, hard), hard))
    bench = Bench(arguments.rounds, arguments.seconds, arguments.servers, arguments.before)
    for name in arguments.names:
        RUNS[name](bench)
    arguments.out.mkdir(parents=True, exist_ok=True)
    found = {
        "when": time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime()),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "rounds": arguments.rounds,
        "not_run": bench.skipped,
        "found": bench.found,
    }
    name = "-".join(arguments.names) if tuple(arguments.names) != ALL else "all"
    (arguments.out / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    (arguments.out / f"{name}.svg").write_text(plot(bench.found))
    print("\n".join([show(found), "", *goals.judged(bench.found)]))


if __name__ == "__main__":
    main()
