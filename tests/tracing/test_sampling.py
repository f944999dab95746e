"""Tests tail sampling: failures, failovers and slow requests stay, and the sampler decides on the others."""

from __future__ import annotations

import random

import pytest
from kit.records import TRACE, attempt, call_record, ids

from flask_gateway.config.traces import TraceSettings
from flask_gateway.tracing.sampling import is_kept, is_sampled

OFF = TraceSettings(endpoint="http://r.test", sampler="always_off")


@pytest.mark.parametrize(
    "record",
    [
        call_record(status=502, code="upstream_failed"),
        call_record(status=401, code="invalid_api_key", attempts=()),
        call_record(code="upstream_cut"),  # a stream that broke after its status
        call_record(attempts=(attempt("one", "500", 0, 1), attempt("two", "200", 1, 1))),
        call_record(seconds=30.0),
    ],
)
def test_failures_failovers_and_slow_requests_are_always_kept(record: object) -> None:
    assert is_kept(record, OFF, 30.0)  # type: ignore[arg-type]


def test_an_ordinary_request_is_not_kept_by_itself() -> None:
    assert not is_kept(call_record(), OFF, 30.0)
    assert not is_kept(call_record(seconds=3000.0), OFF, 0.0)


@pytest.mark.parametrize(
    ("sampler", "flags", "kept"),
    [
        ("always_on", "00", True),
        ("always_off", "01", False),
        ("parentbased_always_on", "", True),
        ("parentbased_always_on", "00", False),
        ("parentbased_always_off", "", False),
        ("parentbased_always_off", "01", True),
        ("parentbased_always_off", "03", True),  # a later version may set more flags
        ("parentbased_traceidratio", "", False),
        ("parentbased_traceidratio", "01", True),
        ("traceidratio", "01", False),
    ],
)
def test_a_sampler_does_what_its_name_says(sampler: str, flags: str, kept: bool) -> None:
    settings = TraceSettings(endpoint="", sampler=sampler, ratio=0.0)
    assert is_sampled(TRACE, flags, settings) is kept
    record = call_record(ids=ids(parent="b7ad6b7169203331" if flags else "", flags=flags or "01"))
    assert is_kept(record, settings, 0.0) is kept


def test_services_with_the_same_ratio_keep_the_same_traces() -> None:
    from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased

    ratio, rng = 0.3, random.Random(1)
    settings = TraceSettings(endpoint="", sampler="traceidratio", ratio=ratio)
    traces = [rng.getrandbits(128) or 1 for _ in range(500)]
    ours = [is_sampled(f"{trace:032x}", "", settings) for trace in traces]
    theirs = [
        TraceIdRatioBased(ratio).should_sample(None, trace, "").decision is Decision.RECORD_AND_SAMPLE
        for trace in traces
    ]
    assert ours == theirs
    assert 100 < sum(ours) < 200
