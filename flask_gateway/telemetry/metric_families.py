"""Declares every metric, and where the workers keep the figures.

Under gunicorn each worker writes its own files, in a directory in memory that the master makes. The worker
that is scraped adds up all files. A figure is written before the end of the answer that it counts, so a
killed worker loses none. ``docs/observability.md`` explains each metric.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Gauge, disable_created_metrics, values

from .fast_metrics import Counter, Histogram
from .metric_files import MetricFiles, values_in

#: Seconds. A long answer of a reasoning model takes many minutes.
DURATIONS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 3600)
FIRST_TOKENS = (0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 7.5, 10, 15, 20, 30, 60, 120)
#: Ages of requests in flight.
AGES = (1.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, math.inf)
ADDED_LATENCIES = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
LAGS = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1)

#: The kinds of metric files that a scrape expects from every worker.
KINDS = ("counter", "histogram", "gauge_livesum")

#: The directory of all workers' files; ``None`` if this process keeps its figures to itself.
_directory: str | None = None
_files: MetricFiles | None = None
#: Why the workers do not share their figures, if they should; else empty.
_missing = ""


def attach(directory: str | None, slot: int) -> None:
    """Keep this process's figures in the directory, in files named by the slot.

    Call it before the first :func:`families`. No other living process has the slot. The next process with it
    continues the same files, so there are never more files than workers at once.

    :param directory: ``None`` if none could be made; each process then keeps its own figures.
    """
    global _directory, _files, _missing
    if directory is None:
        _missing = "no directory for metrics could be made: /metrics shows one worker's figures"
        return
    with suppress(OSError):  # only `process_*` needs it
        process_file(directory, slot).write_text(str(os.getpid()))
    _files = MetricFiles(Path(directory), slot)
    _files.open(*KINDS)
    _directory = os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
    values.ValueClass = values_in(_files)


def process_file(directory: str, slot: int) -> Path:
    """The file with the process id of the worker in that slot."""
    return Path(directory) / f"worker_{slot}.pid"


def directory() -> str | None:
    return _directory


def trouble() -> str:
    """Why figures are missing from ``/metrics``; empty when none are."""
    return _missing if _files is None else _files.trouble()


Family = TypeVar("Family", Counter, Histogram, Gauge)


class Series(Generic[Family]):
    """Caches the series of a family by label values, because the family's own lookup is slower.

    The cache never shrinks, so callers must bound the label values.
    """

    def __init__(self, family: Family) -> None:
        self.family: Family = family
        self._series: dict[tuple[str, ...], Family] = {}

    def __call__(self, *labels: str) -> Family:
        try:
            return self._series[labels]
        except KeyError:
            series = self._series[labels] = self.family.labels(*labels) if labels else self.family
            return series

    def known(self) -> list[tuple[str, ...]]:
        """The label values of all series so far."""
        return list(self._series)


class Families:
    """All metrics of one process. Two instances would overwrite each other's values in the same file."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.requests = self._counter(
            "requests", "Finished requests.", "route", "model", "upstream", "status", "code"
        )
        self.durations = self._histogram(
            "request_duration_seconds",
            "Calls, from the request to the end of the answer.",
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
            "stream_outcomes", "Started streams, by how they ended.", "upstream", "outcome"
        )
        self.dropped = self._counter(
            "dropped_events", "Stream events that could not be parsed and were left out.", "upstream"
        )
        self.attempts = self._counter("attempts", "Attempts at an upstream, by result.", "upstream", "result")
        self.attempt_durations = self._histogram(
            "attempt_duration_seconds",
            "Attempts, until the answer began or the attempt failed.",
            DURATIONS,
            "upstream",
        )
        self.failovers = self._counter(
            "failovers", "Attempts at another upstream after one failed.", "from", "to", "reason"
        )
        self.transitions = self._counter(
            "breaker_transitions", "Changes of a breaker's state.", "upstream", "model", "from", "to"
        )
        self.limits = self._counter(
            "ratelimit_decisions",
            "Calls that a key's limits admitted or refused.",
            "key",
            "dimension",
            "decision",
        )
        self.tokens = self._counter(
            "tokens", "Tokens, by type and by who counted them.", "key", "model", "type", "usage_source"
        )
        self.units = self._counter(
            "units",
            "Seconds of sound, characters and pictures, by who counted them.",
            *("key", "model", "unit", "usage_source"),
        )
        self.cost = self._counter(
            "cost_usd", "Cost of calls in US dollars, by who counted the units.", "key", "model", "source"
        )
        self.unpriced = self._counter(
            "unpriced_calls", "Parts of answers whose price is unknown.", "upstream", "model"
        )
        self.ledger_lost = self._counter("ledger_lines_lost", "Lines of the ledger that could not be kept.")
        self.ledger_lost()
        self.budget_alerts = self._counter(
            "budget_alerts", "Shares of budgets that were used up.", "subject", "window", "share"
        )
        self.alerts_posted = self._counter("alerts_posted", "Alerts for the webhook, by result.", "result")
        self.budget_overshoot = self._counter(
            "budget_overshoot_usd", "Costs beyond budgets, US dollars, of calls that were in flight."
        )
        self.budget_unverified = self._counter("budget_unverified", "Budgets that began without the ledger.")
        self.ledger_degraded = self._gauge("ledger_degraded", "Workers whose ledger cannot be written now.")
        self.ledger_lag = self._gauge("ledger_lag_seconds", "Time since the ledger was last up to date.")
        self.shed = self._counter("shed", "Requests shed to protect the others.", "reason")
        self.reloads = self._counter("config_reload", "Reloads of the settings.", "result")
        for result in ("success", "failure"):  # start at 0, so that rate() sees the first failure
            self.reloads(result)
        self.fallbacks = self._counter(
            "store_fallbacks", "Operations answered by the fallback store, by reason.", "reason"
        )
        for reason in ("away", "busy", "full"):
            self.fallbacks(reason)
        self.cache_lookups = self._counter(
            "cache_lookups", "Calls of cached models, by what the cache had.", "model", "result"
        )
        self.cache_stored = self._counter("cache_stored", "Answers that the cache has kept.")
        self.cache_refused = self._counter(
            "cache_refused", "Calls and answers not kept, by reason.", "reason"
        )
        self.cache_evicted = self._counter("cache_evicted", "Answers that had to go for newer ones.")
        self.cache_saved_tokens = self._counter(
            "cache_saved_tokens", "Tokens of answers that the cache gave.", "model"
        )
        self.cache_saved_usd = self._counter(
            "cache_saved_usd", "Cost of the same answers, US dollars.", "model"
        )
        self.plugin_seconds = self._histogram(
            "plugin_seconds",
            "Time in plugins; of an inspection, all of an answer's.",
            ADDED_LATENCIES,
            "plugin",
            "hook",
        )
        self.plugin_errors = self._counter("plugin_errors", "Failures of plugins.", "plugin", "hook")
        self.plugin_slow = self._counter("plugin_slow", "Slow uses of plugins.", "plugin", "hook")
        self.traces = self._counter("traces", "Finished requests, by what became of their traces.", "result")
        self.log_dropped = self._counter("log_lines_dropped", "Log lines that could not be written.")
        self.log_dropped()
        self.threads_busy = self._gauge("threads_busy", "Threads that serve a request.")
        self.threads_limit = self._gauge("threads_limit", "Threads of all workers.")
        self.streams_active = self._gauge("streams_active", "Active streams.")
        self.sessions_open = self._gauge("realtime_sessions", "Open WebSocket sessions.")
        self.event_loop_lag = self._histogram(
            "event_loop_lag_seconds", "The longest round of the event loop in each second.", LAGS
        )
        self.in_flight = Series(
            self._gauge("requests_in_flight", "Calls in flight at an upstream.", "upstream")
        )
        self.in_flight_by_age = Series(
            self._gauge("requests_in_flight_by_age", "Calls in flight that are at most le seconds old.", "le")
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
        # The sum over living workers: the master removes the gauges of a dead one.
        return Gauge(
            f"gateway_{name}", help_text, labels, multiprocess_mode="livesum", registry=self.registry
        )


families = cache(Families)
