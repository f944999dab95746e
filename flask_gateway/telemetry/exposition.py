"""What ``/metrics`` says: what all workers have counted, and how things stand at this moment."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from .metric_families import Families, directory


class Snapshot(msgspec.Struct, frozen=True):
    """How things stand, read once when somebody asks, from the state that the workers share.

    :param breakers: 0 closed, 1 open, 2 half open; by upstream and model, the model empty when it is about
        all of the upstream.
    :param degraded: whether other state answers for the store, as the worker sees it that is asked.
    :param missing: whether some figures are missing, because there is no room for them.
    :param configured: when that worker took the settings in force, seconds since the epoch.
    """

    breakers: Mapping[tuple[str, str], int]
    degraded: bool
    configured: float
    missing: bool = False


def exposition(families: Families, standing: Snapshot) -> bytes:
    """The text format of Prometheus, version 0.0.4."""
    counted, now = families.registry, CollectorRegistry()
    if (where := directory()) is not None and os.path.isdir(where):
        counted = CollectorRegistry()
        MultiProcessCollector(counted, where)  # type: ignore[no-untyped-call]
    now.register(_Now(standing))
    return generate_latest(counted) + generate_latest(now)


def live_streams() -> int | None:
    """The streams under way in all workers, as each has said within the last second; ``None`` when they do
    not keep their figures together."""
    if (where := directory()) is None:
        return None
    files = [str(file) for file in Path(where).glob("gauge_livesum_*.db")]
    families = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
    return sum(
        int(sample.value)
        for family in families
        if family.name == "gateway_streams_live"
        for sample in family.samples
    )


class _Now(Collector):
    def __init__(self, standing: Snapshot) -> None:
        self._standing = standing

    def collect(self) -> Iterator[Metric]:
        state = GaugeMetricFamily(
            "gateway_breaker_state", "0 closed, 1 open, 2 half open.", labels=["upstream", "model"]
        )
        for names, phase in self._standing.breakers.items():
            state.add_metric(names, phase)
        degraded = GaugeMetricFamily("gateway_store_degraded", "Whether other state answers for the store.")
        degraded.add_metric([], self._standing.degraded)
        configured = GaugeMetricFamily(
            "gateway_config_timestamp_seconds", "When the settings in force were taken."
        )
        configured.add_metric([], self._standing.configured)
        missing = GaugeMetricFamily(
            "gateway_metrics_degraded", "Whether figures are missing here, because there is no room for them."
        )
        missing.add_metric([], self._standing.missing)
        yield from (state, degraded, missing, configured)
