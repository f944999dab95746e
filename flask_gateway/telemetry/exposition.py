"""Renders ``/metrics``: the figures of all workers, and the current state of the store and the settings."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from .. import __version__
from .metric_families import Families, directory
from .processes import WorkersCollector, workers

#: The number of a breaker's state is its position here.
BREAKER_STATES = ("closed", "open", "half_open")


class Snapshot(msgspec.Struct, frozen=True):
    """The current state, read once for each scrape.

    :param breakers: the number of each breaker's state, by upstream and model. The model is empty for the
        breaker of the whole upstream.
    :param degraded: whether another store answers for the configured one, as seen by the scraped worker.
    :param configured: when the scraped worker loaded its settings, seconds since the epoch.
    :param reloaded: whether the last reload of that worker succeeded.
    :param missing: whether some figures are missing, because there is no space for them.
    :param cached: bytes of kept answers, as seen by the scraped worker.
    """

    breakers: Mapping[tuple[str, str], int]
    degraded: bool
    configured: float
    reloaded: bool = True
    missing: bool = False
    cached: int = 0


def exposition(families: Families, snapshot: Snapshot) -> bytes:
    """The text format of Prometheus, version 0.0.4."""
    counted, current = families.registry, CollectorRegistry()
    if (where := directory()) is not None and os.path.isdir(where):
        counted = CollectorRegistry()
        MultiProcessCollector(counted, where)  # type: ignore[no-untyped-call]
    current.register(_SnapshotCollector(snapshot))
    current.register(WorkersCollector(workers(where)))
    return generate_latest(counted) + generate_latest(current)


def live_streams() -> int | None:
    """Count the active streams of all workers; each worker's figure is little more than a second old.

    :return: ``None`` when the workers do not share their figures.
    """
    samples = _live("gateway_streams_active")
    return None if samples is None else sum(int(sample.value) for sample in samples)


def live_calls() -> dict[str, int] | None:
    """Count the calls in flight at each upstream, of all workers; see :func:`live_streams`."""
    samples = _live("gateway_requests_in_flight")
    return None if samples is None else {one.labels["upstream"]: int(one.value) for one in samples}


def degraded_ledgers() -> int | None:
    """Count the workers whose ledger cannot be written; see :func:`live_streams`."""
    samples = _live("gateway_ledger_degraded")
    return None if samples is None else sum(int(sample.value) for sample in samples)


def _live(name: str) -> list[Sample] | None:
    """The samples of a gauge, added up over all workers."""
    global _last  # a page asks for several gauges at once, and reading them takes a millisecond
    if (where := directory()) is None:
        return None
    now = time.monotonic()
    if where != _last.where or now - _last.at > _REUSED:
        files = [str(file) for file in Path(where).glob("gauge_livesum_*.db")]
        families = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        _last = _Gauges(where, now, {family.name: family.samples for family in families})
    return _last.samples.get(name, [])


class _Gauges(NamedTuple):
    """The gauges of all workers at one moment, seconds of ``time.monotonic()``."""

    where: str
    at: float
    samples: Mapping[str, list[Sample]]


#: How long they are used again, seconds.
_REUSED = 0.2
_last = _Gauges("", 0.0, {})


class _SnapshotCollector(Collector):
    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        yield from _breakers(self._snapshot.breakers)
        build = GaugeMetricFamily(
            "gateway_build_info", "Always 1; the labels say what runs.", labels=["version", "python"]
        )
        build.add_metric([__version__, platform.python_version()], 1)
        yield build
        for name, help_text, value in (
            (
                "store_degraded",
                "Whether another store answers for the configured one.",
                self._snapshot.degraded,
            ),
            ("cache_bytes", "Bytes of kept answers.", self._snapshot.cached),
            ("metrics_degraded", "Whether figures are missing here.", self._snapshot.missing),
            (
                "config_last_reload_success_timestamp_seconds",
                "When the worker loaded its settings.",
                self._snapshot.configured,
            ),
            (
                "config_last_reload_successful",
                "Whether the worker's last reload succeeded.",
                self._snapshot.reloaded,
            ),
        ):
            yield GaugeMetricFamily(f"gateway_{name}", help_text, value=value)


def _breakers(states: Mapping[tuple[str, str], int]) -> tuple[Metric, Metric]:
    """Every state as 0 or 1, which can be summed; and the number of the current state."""
    labels = ["upstream", "model"]
    state = GaugeMetricFamily(
        "gateway_breaker_state", "1 for the breaker's current state, else 0.", labels=[*labels, "state"]
    )
    number = GaugeMetricFamily(
        "gateway_breaker_state_number", "0 closed, 1 open, 2 half open.", labels=labels
    )
    for names, current in states.items():
        number.add_metric(names, current)
        for index, name in enumerate(BREAKER_STATES):
            state.add_metric([*names, name], index == current)
    return state, number
