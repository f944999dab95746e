"""Measures calls that are answered in one piece, with ``wrk`` as the callers."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile

from . import servers
from .load import cost

Numbers = dict[str, float]


def chat_body(prompt_bytes: int) -> bytes:
    text = "All work and no play makes a dull benchmark. " * (prompt_bytes // 45 + 1)
    return json.dumps(
        {"model": "bench", "temperature": 0.2, "messages": [{"role": "user", "content": text[:prompt_bytes]}]}
    ).encode()


def wrk(url: str, connections: int, seconds: int, body: bytes) -> Numbers:
    command = [servers.tool("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s"]
    with tempfile.NamedTemporaryFile() as file:
        file.write(body)
        file.flush()
        done = subprocess.run(
            [*command, "-s", "bench/chat.lua", f"{url}/v1/chat/completions"],
            env={
                **os.environ,
                "BODY_FILE": file.name,
                "KEY": servers.KEY,
                "HEADERS": servers.MORE_HEADERS.get(url, ""),
            },
            cwd=servers.ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    requests, wrong, lost, p50, p99 = map(float, line.split()[1:])
    if wrong or lost > connections:
        raise RuntimeError(f"{url}: {wrong:.0f} wrong answers, {lost:.0f} lost ones")
    return {"requests": requests, "p50_ms": p50 / 1000, "p99_ms": p99 / 1000}


def chat(process: subprocess.Popen, url: str, connections: int, seconds: int, body: bytes) -> Numbers:
    wrk(url, connections, 1, body)
    before = cost.cpu(process.pid)
    seen = wrk(url, connections, seconds, body)
    cpu = cost.cpu(process.pid) - before
    return {
        "cpu_us": cpu / max(1.0, seen["requests"]) * 1e6,
        "per_second": seen["requests"] / seconds,
        "p50_ms": seen["p50_ms"],
        "p99_ms": seen["p99_ms"],
    }
