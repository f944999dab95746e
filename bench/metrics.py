"""Measures the counting of one request, with metrics that several workers share.

    python bench/metrics.py [--rounds 7] [--calls 20000]

The figure is the median of the rounds: CPU time of this process per request, in µs. The files lie in memory,
as under gunicorn. A scrape is measured too, with the metrics of as many workers.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from flask_gateway.model.call import Attempt, Ids, Usage
from flask_gateway.telemetry import metric_families
from flask_gateway.telemetry.exposition import Snapshot, exposition
from flask_gateway.telemetry.metrics import Metrics
from flask_gateway.telemetry.request_record import RequestRecord

IDS = Ids("r", "t", "00")
FIRST = Attempt("llama", "200", 0.4, "llama-3")
COMMON = {
    "ids": IDS,
    "key": "team-a",
    "method": "POST",
    "path": "/v1/chat/completions",
    "route": "/v1/chat/completions",
    "model": "fast",
    "upstream": "llama",
    "usage": Usage(20, 200),
}
REFUSED = {**COMMON, "upstream": None, "usage": None, "outcome": "ignored", "code": "rate_limit_exceeded"}
RECORDS = {
    "no call": RequestRecord(
        ids=IDS, key="team-a", method="GET", path="/v1/models", status=200, seconds=0.001
    ),
    "refused by a limit": RequestRecord(
        **REFUSED, status=429, seconds=0.001, overhead=0.001, limited="requests"
    ),
    "whole answer": RequestRecord(
        **COMMON, status=200, seconds=2.1, first_byte=2.0, overhead=0.01, outcome="success", attempts=(FIRST,)
    ),
    "stream": RequestRecord(
        **COMMON,
        status=200,
        seconds=9.1,
        first_byte=0.5,
        overhead=0.01,
        outcome="success",
        attempts=(FIRST,),
        stream=True,
    ),
    "stream, after a failover": RequestRecord(
        **COMMON,
        status=200,
        seconds=9.1,
        first_byte=0.5,
        overhead=0.01,
        outcome="success",
        attempts=(Attempt("openai", "500", 0.1, "gpt"), FIRST),
        stream=True,
    ),
}


def cpu(once: Callable[[], object], calls: int) -> float:
    begun = time.process_time_ns()
    for _ in range(calls):
        once()
    return (time.process_time_ns() - begun) / calls / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=20000)
    options = parser.parse_args()
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    folder = tempfile.mkdtemp(prefix="flask-gateway-bench-", dir=memory)
    try:
        metric_families.attach(folder, 0)
        metrics = Metrics(metric_families.families(), ["fast"], ["llama", "openai"])
        for title, record in RECORDS.items():
            figures = [
                cpu(lambda record=record: metrics(record), options.calls) for _ in range(options.rounds)
            ]
            print(f"{title:28}{statistics.median(figures):8.1f} µs")
        for file in list(Path(folder).glob("*_0.db")):
            for slot in range(1, 4):
                shutil.copy(file, file.with_name(file.name.replace("_0.db", f"_{slot}.db")))
        now = Snapshot({("llama", ""): 0, ("openai", ""): 0}, False, time.time())
        figures = [cpu(lambda: exposition(metrics.families, now), 20) for _ in range(options.rounds)]
        print(f"{'a scrape, four workers':28}{statistics.median(figures):8.0f} µs")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
