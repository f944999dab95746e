"""Measures other calls during a thousand streams, for ``bench.run``."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time

from . import servers
from .load.callers import percentile
from .wrk import Numbers


def beside(url: str, rate: int) -> Numbers:
    """Ask for answers in one piece and for ``/health`` while a thousand streams pass.

    :param rate: events a second of each stream.
    """
    shape = ["1000", str(20 * rate), str(rate)]
    command = [sys.executable, "-m", "bench.load.callers", f"{url}/v1/chat/completions", *shape, servers.KEY]
    crowd = subprocess.Popen(command, cwd=servers.ROOT, stdout=subprocess.PIPE, text=True)
    time.sleep(6)  # all streams have begun
    health, calls = [], []
    while len(calls) < 300:
        health.append(one_request(url, HEALTH))
        calls.append(one_request(url, CHAT % servers.KEY.encode()))
        time.sleep(0.02)
    report = json.loads(crowd.communicate()[0])
    numbers = {"chat_p99_ms": calls, "chat_p50_ms": calls, "health_p99_ms": health}
    found = {name: percentile(sorted(seen), 0.99 if "99" in name else 0.5) for name, seen in numbers.items()}
    return {
        **{name: (value or 0) * 1000 for name, value in found.items()},
        "whole": report["verdicts"].get("ok", 0),
    }


HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
MESSAGE = b'{"model":"mock/m","messages":[{"role":"user","content":"Hello"}]}'
CHAT = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer %b\r\n"
    b"Content-Type: application/json\r\nContent-Length: "
) + b"%d\r\n\r\n%b" % (len(MESSAGE), MESSAGE)


def one_request(url: str, request: bytes) -> float:
    """The seconds from connecting to the end of a good answer."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), 30) as sock:
        sock.sendall(request)
        answer = b""
        while data := sock.recv(65536):
            answer += data
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"not a good answer: {answer[:300]!r}")
    return time.monotonic() - began
