"""Measures hits of the cache at a running server, and the share of hits on mixes.

``python -m bench.cache_served``: CPU time of the whole server for each request, in µs: of a hit, of a call of
the built-in mock, and of a call of an upstream on this machine (nginx with a fixed answer). They take turns.
The median of the rounds counts. The mixes are made with a fixed seed.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import tempfile
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

from . import servers
from .load import cost
from .wrk import chat

ROUNDS, SECONDS, CONNECTIONS = 5, 3, 8
SETTINGS = """
rate_limit_per_minute = 0
[upstreams.mock]
url = "mock://local"
[upstreams.up]
url = "{upstream}"
[models.mock]
upstream = "mock"
[models.kept]
upstream = "mock"
cache = "all"
[models.near]
upstream = "up"
[models.mixed]
upstream = "up"
cache = "all"
[keys.bench]
key_env = "BENCH_KEY"
[cache]
path = "{folder}"
"""
ROWS = {"a hit": "kept", "a mock call": "mock", "a call of a near upstream": "near"}


def body(model: str, text: str) -> bytes:
    said = [
        {"role": "system", "content": "You are a helpful assistant. " * 10},
        {"role": "user", "content": text},
    ]
    return json.dumps({"model": model, "messages": said, "temperature": 0}).encode()


def mixes() -> Iterator[tuple[str, list[str]]]:
    """Requests of four kinds of callers, as texts that are equal or not."""
    chance = random.Random(7)
    yield "an evaluation of 300 prompts, run 4 times", [f"case {n}" for n in range(300)] * 4
    changed = [f"chunk {n}" if chance.random() < 0.95 else f"new chunk {n}" for n in range(600)]
    yield "an index of 600 chunks, built twice, 5 % changed", [f"chunk {n}" for n in range(600)] + changed
    questions = [f"question {n}" for n in range(500)]
    weights = [1 / (rank + 1) for rank in range(500)]
    yield "1200 questions to a help page, as Zipf has them", chance.choices(questions, weights, k=1200)
    yield "1200 turns of chats", [f"turn {n}" for n in range(1200)]


def share(port: int, pid: int, texts: list[str], model: str) -> tuple[float, float]:
    """The share of hits, and CPU time of the server for each request, µs."""
    hits, connection = 0, HTTPConnection("127.0.0.1", port)
    headers = {"Authorization": f"Bearer {servers.KEY}", "Content-Type": "application/json"}
    began = cost.cpu(pid)
    for text in texts:
        connection.request("POST", "/v1/chat/completions", body(model, text), headers)
        answer = connection.getresponse()
        answer.read()
        hits += answer.headers.get("x-gateway-cache") == "hit"
    connection.close()
    return hits / len(texts), (cost.cpu(pid) - began) / len(texts) * 1e6


def main(rounds: int = ROUNDS) -> None:
    with tempfile.TemporaryDirectory() as folder, servers.json_upstream() as upstream:
        file = Path(folder) / "gateway.toml"
        file.write_text(SETTINGS.format(upstream=upstream, folder=folder))
        file.chmod(0o600)
        port = servers.free_port()
        with servers.gateway("", port, 1, file, BENCH_KEY=servers.KEY) as process:
            url, found = f"http://127.0.0.1:{port}", {name: list[float]() for name in ROWS}
            for _ in range(rounds):
                for name, model in ROWS.items():
                    seen = chat(process, url, CONNECTIONS, SECONDS, body(model, "Hello"))
                    found[name].append(seen["cpu_us"])
            for name, figures in found.items():
                print(
                    f"{name}: {statistics.median(figures):.0f} µs ({min(figures):.0f} to {max(figures):.0f})"
                )
            for name, texts in mixes():
                hits, cached = share(port, process.pid, texts, "mixed")
                _, asked = share(port, process.pid, texts, "near")
                print(f"{name}: {hits:.0%} hits, {cached:.0f} µs a request, {asked:.0f} without a cache")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
