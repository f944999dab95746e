"""The last requests, counts and notes that the operator's page shows."""

from __future__ import annotations

import logging
import os
import time

import pytest
from kit.pages import HOSTILE, a_record

from flask_gateway.model.call import Attempt
from flask_gateway.telemetry import notes, page_rings, pulse
from flask_gateway.telemetry.page_rings import RECENT, REGION, PageRings
from flask_gateway.telemetry.pulse import BOUNDS, COARSE, FINE, ROWS, added, percentile
from flask_gateway.telemetry.recent import EndKind, encoded, kind_of
from flask_gateway.telemetry.request_record import RequestRecord

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, EndKind.OK),
        ({"status": 502, "outcome": "failure"}, EndKind.FAILED),
        ({"status": 200, "outcome": "failure", "code": "upstream_cut"}, EndKind.FAILED),
        ({"status": 429, "outcome": "throttled"}, EndKind.FAILED),
        ({"status": 503, "outcome": "credential_refused"}, EndKind.FAILED),
        ({"status": 503, "outcome": "ignored"}, EndKind.FAILED),
        ({"status": 429, "outcome": "ignored", "limited": "requests"}, EndKind.REFUSED),
        ({"status": 400, "outcome": "rejected"}, EndKind.REFUSED),
        ({"status": 401, "outcome": None}, EndKind.REFUSED),
        ({"status": 499, "outcome": "ignored", "code": "client_closed_request"}, EndKind.LEFT),
    ],
)
def test_each_end_has_its_kind(changes: dict[str, object], kind: EndKind) -> None:
    assert kind_of(a_record(**changes)) is kind


def test_failed_requests_survive_a_flood_of_successes() -> None:
    rings = PageRings()
    rings.observe(a_record("bad", status=502, outcome="failure"))
    for number in range(RECENT.entries + 100):
        rings.observe(a_record(number))
    entries = list(rings.entries())
    assert entries[0].request_id == f"request-{RECENT.entries + 99}"
    assert entries[-1].request_id == "request-bad"
    assert len(entries) == RECENT.entries + 1
    assert rings.kept() == RECENT.entries


def test_a_request_that_is_in_both_rings_is_shown_once_and_equal_ids_twice() -> None:
    rings = PageRings()
    for _ in range(2):
        rings.observe(a_record("same", status=502, outcome="failure"))
    assert [entry.request_id for entry in rings.entries()] == ["request-same"] * 2


@pytest.mark.parametrize("text", [*HOSTILE, "\ud800", "é" * 2000])
def test_every_text_fits(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    attempts = tuple(Attempt(text, text, 0.1, text, 1) for _ in range(9))
    record = a_record(model=text, key=text, code=text, upstream=text, path=text, attempts=attempts)
    rings = PageRings()
    rings.observe(record)
    (entry,) = rings.entries()
    assert entry.model is not None
    assert text.startswith(entry.model.removesuffix("…"))
    assert len(encoded(record, EndKind.OK, NOW, RECENT.longest)) <= RECENT.longest


def test_requests_of_the_page_itself_are_not_kept() -> None:
    rings = PageRings()
    rings.observe(a_record(path="/ui/login", outcome=None))
    rings.observe(a_record(path="/admin/v1/keys", outcome=None))
    assert list(rings.entries()) == []


def test_workers_add_up_and_a_killed_one_is_kept() -> None:
    file = os.memfd_create("test")
    first, second = PageRings((file, 0)), PageRings((file, 3))
    first.observe(a_record(1))
    second.observe(a_record(2))
    second.note("the second worker")
    del second
    assert {entry.request_id for entry in first.entries()} == {"request-1", "request-2"}
    assert [note.text for note in first.notes()] == ["the second worker"]
    assert added(first.counts(FINE, time.time())).ok == 2
    assert os.fstat(file).st_size == 4 * REGION
    PageRings((file, 3)).observe(a_record(3))
    assert len(list(first.entries())) == 3
    os.close(file)


def counted(*records: RequestRecord, at: float = NOW) -> PageRings:
    rings = PageRings()
    for record in records:
        rings._pulse.count(record, kind_of(record), at)
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
    rings._pulse.count(a_record(), EndKind.OK, NOW + FINE.seconds * FINE.buckets)  # the same bucket
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


def test_a_note_is_one_line_and_has_a_bound() -> None:
    rings = PageRings()
    rings.note("first\nsecond\r\x00" + "x" * 500, "warning")
    (note,) = rings.notes()
    assert note.text.startswith("first second")
    assert len(note.text) <= notes.LONGEST
    assert note.level == "warning"


def test_warnings_are_kept_and_other_lines_are_not() -> None:
    rings = page_rings.open_rings()
    assert rings is not None
    log = logging.getLogger("flask_gateway.somewhere")
    log.warning("flask-gateway: the store is away: %s", "why")
    log.info("chatter")
    logging.getLogger("gunicorn.error").warning("settings reloaded; changed: %s", "models.fast")
    assert [note.text for note in rings.notes()] == [
        "settings reloaded; changed: models.fast",
        "the store is away: why",
    ]


def test_without_memory_there_are_no_rings(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError("no memory")

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert page_rings.open_rings() is None


def test_the_counts_begin_at_a_whole_word() -> None:
    assert page_rings._PULSE % 8 == 0
    assert page_rings.REGION % 65536 == 0
    assert page_rings._PULSE + pulse.LENGTH <= page_rings.REGION
