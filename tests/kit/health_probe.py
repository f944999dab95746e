"""Requests ``/health`` on new connections: ``python tests/kit/health_probe.py PORT SECONDS``.

It is a process of its own, so that it never waits for the GIL of an attacker. Prints a line of JSON: the
number of requests, the failures, and the longest request in seconds.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from http.client import HTTPException
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from kit.wire import ask


def measured(port: int, seconds: float) -> dict[str, Any]:
    times: list[float] = []
    failures: list[str] = []
    until = time.monotonic() + seconds
    while (began := time.monotonic()) < until:
        try:
            status = ask(port, "GET", "/health").status
            failures += [] if status == 200 else [str(status)]
        except (OSError, HTTPException) as error:
            failures.append(repr(error))
        times.append(time.monotonic() - began)
        time.sleep(0.02)
    return {"count": len(times), "failures": failures, "max": max(times)}


def probing(port: int, seconds: float) -> subprocess.Popen[str]:
    """Start the probe. Its standard output is the line of JSON."""
    command = [sys.executable, __file__, str(port), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


if __name__ == "__main__":
    print(json.dumps(measured(int(sys.argv[1]), float(sys.argv[2]))))
