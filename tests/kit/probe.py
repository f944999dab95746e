"""Measures the delay of the events of a stream: ``python tests/kit/probe.py PORT KEY MODEL SECONDS``.

The upstream's events contain the time of sending, on the same monotonic clock. Prints a line of JSON.
"""

from __future__ import annotations

import json
import re
import sys
import time
from http.client import HTTPException
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from kit.wire import open_stream

_AT = re.compile(r'"at ([0-9.]+)"')


def measured(port: int, key: str, model: str, seconds: float) -> dict[str, float]:
    late: list[float] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            with open_stream(port, key, model) as stream:
                for moment, data in stream.events():
                    if sent := _AT.search(data):
                        late.append(moment - float(sent[1]))
        except (OSError, HTTPException):  # the worker was killed
            time.sleep(0.1)
    late.sort()
    shares = {f"p{share}": late[min(len(late) - 1, len(late) * share // 100)] for share in (50, 99)}
    return {"events": len(late), **shares, "max": late[-1]}


if __name__ == "__main__":
    print(json.dumps(measured(int(sys.argv[1]), *sys.argv[2:4], float(sys.argv[4]))))
