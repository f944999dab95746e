"""Collects the standard ``process_*`` metrics of every worker, from ``/proc``, when somebody scrapes.

The names and their meaning are those of Prometheus' client libraries. The label ``worker`` is the slot of the
worker: a number from 0, which a new worker takes over from a dead one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from prometheus_client import ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.registry import Collector


def workers(directory: str | None) -> dict[int, int]:
    """The process ids of the workers, by slot. A process without other workers is slot 0."""
    found = {}
    for file in Path(directory).glob("worker_*.pid") if directory else ():
        with suppress(OSError, ValueError):  # the worker has ended meanwhile
            found[int(file.stem.removeprefix("worker_"))] = int(file.read_text())
    return dict(sorted(found.items())) or {0: os.getpid()}


class WorkersCollector(Collector):
    """:param processes: the process ids by slot. A process that has ended has no figures."""

    def __init__(self, processes: Mapping[int, int]) -> None:
        self._processes = processes

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for slot, process in self._processes.items():
            for metric in ProcessCollector(pid=partial(int, process), registry=None).collect():
                family = families.setdefault(
                    metric.name, Metric(metric.name, metric.documentation, metric.type)
                )
                for sample in metric.samples:
                    family.add_sample(sample.name, {"worker": str(slot)}, sample.value)
        yield from families.values()
