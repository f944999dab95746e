"""The last requests that the page shows: texts that do not fit first, then how each has ended."""

from __future__ import annotations

import pytest
from kit.pages import HOSTILE, a_record

from flask_gateway.model.call import Attempt
from flask_gateway.telemetry import recent
from flask_gateway.telemetry.page_rings import RECENT, PageRings
from flask_gateway.telemetry.recent import EndKind, encoded, kind_of

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
    for number in range(5000):
        rings.observe(a_record(number))
    entries = list(rings.entries())
    assert entries[0].request_id == "request-4999"
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


def test_entries_of_other_code_are_left_out() -> None:
    good = encoded(a_record(1), EndKind.OK, NOW, RECENT.longest)
    rings = [iter([b"\xc1", good, b""]), iter([b"\x93\x01"])]
    assert [entry.request_id for entry in recent.merged(rings)] == ["request-1"]


def test_the_newest_entry_of_several_rings_comes_first() -> None:
    first, second, third = (encoded(a_record(n), EndKind.OK, NOW + n, RECENT.longest) for n in range(3))
    merged = recent.merged([iter([third, first]), iter([second])])
    assert [entry.request_id for entry in merged] == ["request-2", "request-1", "request-0"]
