"""Tests for flask_gateway.telemetry.fast_metrics: the same samples as those of ``prometheus_client``."""

from __future__ import annotations

from typing import Any

import prometheus_client
import pytest

from flask_gateway.telemetry import fast_metrics

BUCKETS = (0.1, 0.5, 1.0)


def samples(kind: Any, observations: list[float], **options: Any) -> list[tuple[str, dict[str, str], float]]:
    registry = prometheus_client.CollectorRegistry()
    family = kind("a_thing", "Help.", ("label",), registry=registry, **options)
    for amount in observations:
        child = family.labels("x")
        child.observe(amount) if options else child.inc(amount)
    return [
        (sample.name, sample.labels, sample.value)
        for metric in registry.collect()
        for sample in metric.samples
        if not sample.name.endswith("_created")
    ]


@pytest.mark.parametrize(
    "amounts", [[], [0.0], [0.1], [0.1000001], [1.0, 1.1, 1e9], [-1.0, 0.5, 0.2, 0.7, float("inf")]]
)
def test_a_histogram_counts_like_the_original(amounts: list[float]) -> None:
    original = samples(prometheus_client.Histogram, amounts, buckets=BUCKETS)
    assert samples(fast_metrics.Histogram, amounts, buckets=BUCKETS) == original


@pytest.mark.parametrize("amounts", [[], [1], [1, 2.5, 0]])
def test_a_counter_counts_like_the_original(amounts: list[float]) -> None:
    assert samples(fast_metrics.Counter, amounts) == samples(prometheus_client.Counter, amounts)
