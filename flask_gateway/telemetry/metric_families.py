"""What is counted and measured, by its name at ``/metrics``, and where the workers keep the figures.

Under gunicorn every worker writes to files of its own, in a directory in memory that the master has made,
and whichever worker is asked adds all of them up. A figure is in its file before the answer it counts is
out, so a worker that is killed takes none along. ``docs/observability.md`` explains each name.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, values

from .metric_files import MetricFiles, values_in

#: Seconds. A long answer of a reasoning model takes many minutes.
DURATIONS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 3600)
FIRST_TOKENS = (0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 7.5, 10, 15, 20, 30, 60, 120)
#: Of calls under way.
AGES = (1.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, math.inf)
ADDED_LATENCIES = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
LAGS = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1)

#: The kinds of files that a scrape expects of every worker.
KINDS = ("counter", "histogram", "gauge_livesum")

#: Where all workers' files lie; ``None`` while the figures are this process's own.
_directory: str | None = None
_files: MetricFiles | None = None
#: Why the workers do not share their figures, though they should.
_missing = ""


def attach(directory: str | None, slot: int) -> None:
    """Have this process's figures kept in the directory, in files named by the slot.

    To be called before the first :func:`families`. The slot is no other living process's; whoever has it
    next goes on with the same files, so there are never more of them than workers at once.

    :param directory: ``None`` where there is room for none; each process then keeps its own figures.
    """
    global _directory, _files, _missing
    if directory is None:
        _missing = "no directory for metrics could be made: /metrics shows one worker's figures"
        return
    _files = MetricFiles(Path(directory), slot)
    _files.open(*KINDS)
    _directory = os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
    values.ValueClass = values_in(_files)


def directory() -> str | None:
    return _directory


def trouble() -> str:
    """Why figures are missing from ``/metrics``; empty when none are."""
    return _missing if _files is None else _files.trouble()


Family = TypeVar("Family", Counter, Histogram, Gauge)


class Series(Generic[Family]):
    """The series of a family by the values of its labels, found faster than the family finds them.

    There are as many as there are values, so whoever asks bounds those first.
    """

    def __init__(self, family: Family) -> None:
        self.family: Family = family
        self._found: dict[tuple[str, ...], Family] = {}

    def __call__(self, *labels: str) -> Family:
        found = self._found.get(labels)
        if found is None:
            found = self._found[labels] = self.family.labels(*labels) if labels else self.family
        return found

    def known(self) -> list[tuple[str, ...]]:
        """The values of the labels that there are series of."""
        return list(self._found)


class Families:
    """All of them. One per process: two would each write their own idea of a figure to the same file."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.requests = self._counter(
            "requests", "Requests that are over.", "route", "model", "upstream", "status", "code"
        )
        self.durations = self._histogram(
            "request_duration_seconds",
            "Calls, from the door to the end of the answer.",
            DURATIONS,
            "model",
            "upstream",
            "stream",
        )
        self.added_latency = self._histogram(
            "added_latency_seconds",
            "Calls, until the answer began, without what upstreams took.",
            ADDED_LATENCIES,
        )
        self.first_tokens = self._histogram(
            "ttft_seconds", "Streams, until their first content.", FIRST_TOKENS, "model", "upstream"
        )
        self.streams = self._counter(
            "stream_outcomes", "Streams that had begun, by how they ended.", "upstream", "outcome"
        )
        self.dropped = self._counter(
            "dropped_events", "Events of streams that could not be read, and were left out.", "upstream"
        )
        self.attempts = self._counter(
            "attempts", "Times an upstream was asked, by what it said.", "upstream", "result"
        )
        self.failovers = self._counter(
            "failovers", "Times another upstream was asked after one had failed.", "from", "to", "reason"
        )
        self.transitions = self._counter(
            "breaker_transitions", "Changes of a breaker's state.", "upstream", "model", "from", "to"
        )
        self.limits = self._counter(
            "ratelimit_decisions", "What a key's limits said to its calls.", "key", "dimension", "decision"
        )
        self.tokens = self._counter("tokens", "Tokens, by what they were.", "key", "model", "type")
        self.shed = self._counter("shed", "Requests refused to protect the others.", "reason")
        self.reloads = self._counter("config_reload", "Settings read anew.", "result")
        for result in ("success", "failure"):  # so that the first failure is a rise, and not a beginning
            self.reloads(result)
        self.fallbacks = self._counter(
            "store_fallbacks", "What other state answered, by what was wrong with the store.", "reason"
        )
        for reason in ("away", "busy", "full"):
            self.fallbacks(reason)
        self.log_dropped = self._counter("log_lines_dropped", "Lines of the log that could not be written.")
        self.log_dropped()
        self.threads_busy = self._gauge("threads_busy", "Threads that serve a request now.")
        self.threads_limit = self._gauge("threads_limit", "Threads that there are.")
        self.streams_active = self._gauge("streams_active", "Streams under way now.")
        self.event_loop_lag = self._histogram(
            "event_loop_lag_seconds", "The longest turn of each second.", LAGS
        )
        self.in_flight = Series(
            self._gauge("requests_in_flight", "Calls under way at an upstream now.", "upstream")
        )
        self.in_flight_by_age = Series(
            self._gauge("requests_in_flight_by_age", "Calls under way now, no older than le seconds.", "le")
        )

    def _counter(self, name: str, help_text: str, *labels: str) -> Series[Counter]:
        return Series(Counter(f"gateway_{name}", help_text, labels, registry=self.registry))

    def _histogram(
        self, name: str, help_text: str, buckets: Sequence[float], *labels: str
    ) -> Series[Histogram]:
        return Series(
            Histogram(f"gateway_{name}", help_text, labels, buckets=buckets, registry=self.registry)
        )

    def _gauge(self, name: str, help_text: str, *labels: str) -> Gauge:
        # Of the living workers: what a dead one last said of itself is removed by the master.
        return Gauge(
            f"gateway_{name}", help_text, labels, multiprocess_mode="livesum", registry=self.registry
        )


families = cache(Families)
