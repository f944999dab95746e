"""Counts of requests in time: by kind, by upstream, by period, and percentiles."""

from __future__ import annotations

from kit.pages import a_record

from flask_gateway.model.call import Attempt
from flask_gateway.telemetry.page_rings import PageRings
from flask_gateway.telemetry.pulse import BOUNDS, COARSE, FINE, ROWS, added, percentile
from flask_gateway.telemetry.recent import EndKind, kind_of
from flask_gateway.telemetry.request_record import RequestRecord

NOW = 1_800_000_000.0


def counted(*records: RequestRecord, at: float = NOW) -> PageRings:
    rings = PageRings()
    rings._pulse.count([(record, kind_of(record), at) for record in records])
    return rings


def test_periods_are_counted_by_their_kind() -> None:
    rings = counted(
        *[a_record()] * 12,
        *[a_record(status=502, outcome="failure")] * 5,
        *[a_record(status=429, outcome="ignored", attempts=(), upstream=None)] * 3,
    )
    for scale in (FINE, COARSE):
        counts = rings.counts(scale, NOW)
        assert len(counts) == scale.buckets
        assert (counts[-1].ok, counts[-1].failed, counts[-1].refused) == (12, 5, 3)
        assert added(counts).requests == 20
    assert added(rings.counts(FINE, NOW)).prompt_tokens == 100 * 20
    assert added(rings.counts(FINE, NOW, "llama")).requests == 17


def test_a_failed_attempt_counts_for_its_upstream_alone() -> None:
    attempts = (Attempt("openai", "503", 0.1), Attempt("llama", "200", 0.3))
    rings = counted(a_record(attempts=attempts))
    assert added(rings.counts(FINE, NOW, "openai")).failed == 1
    assert added(rings.counts(FINE, NOW, "llama")).ok == 1
    assert added(rings.counts(FINE, NOW)).failed == 0


def test_old_periods_are_forgotten() -> None:
    rings = counted(a_record())
    assert added(rings.counts(FINE, NOW + FINE.seconds * FINE.buckets)).requests == 0
    assert added(rings.counts(COARSE, NOW + FINE.seconds * FINE.buckets)).requests == 1
    rings._pulse.count([(a_record(), EndKind.OK, NOW + FINE.seconds * FINE.buckets)])  # the same bucket
    assert added(rings.counts(FINE, NOW + FINE.seconds * FINE.buckets)).requests == 1


def test_upstreams_beyond_the_rows_count_in_all_alone() -> None:
    many = [a_record(upstream=f"u{n}", attempts=(Attempt(f"u{n}", "200", 0.1),)) for n in range(ROWS + 5)]
    rings = counted(*many)
    assert added(rings.counts(FINE, NOW)).ok == ROWS + 5
    assert added(rings.counts(FINE, NOW, "u0")).ok == 1
    assert added(rings.counts(FINE, NOW, f"u{ROWS + 4}")).ok == 0


def test_percentiles_lie_in_the_class_of_the_answer() -> None:
    assert percentile((0,) * (len(BOUNDS) + 1), 0.5) is None
    rings = counted(*[a_record(first_byte=0.4)] * 90, *[a_record(first_byte=9.0)] * 10)
    classes = added(rings.counts(FINE, NOW)).classes
    median, late = percentile(classes, 0.5), percentile(classes, 0.95)
    assert median is not None
    assert late is not None
    assert 0.4 / 1.5 < median < 0.4 * 1.5
    assert 9 / 1.5 < late < 9 * 1.5
    assert percentile((*(0,) * len(BOUNDS), 3), 0.5) == BOUNDS[-1]


def test_periods_that_are_over_are_added_up_once_and_the_others_each_time() -> None:
    rings = counted(a_record(), at=NOW - FINE.seconds)
    before = rings.counts(FINE, NOW)
    for number in range(1, 4):
        rings._pulse.count([(a_record(), EndKind.OK, NOW)])
        counts = rings.counts(FINE, NOW)
        assert (counts[-2].ok, counts[-1].ok) == (1, number)
        assert counts[-2] is before[-2]
