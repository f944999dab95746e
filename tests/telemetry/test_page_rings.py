"""The last requests, counts and notes that the operator's page shows."""

from __future__ import annotations

import os
import time

import pytest
from kit.pages import a_record
from kit.waiting import until

from flask_gateway.telemetry import page_rings, pulse
from flask_gateway.telemetry.page_rings import REGION, PageRings
from flask_gateway.telemetry.pulse import FINE, added
from flask_gateway.telemetry.recent import RequestEntry, marked_by, needle


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
    assert until(lambda: len(list(first.entries())) == 2)  # the thread of the second has written
    del second
    assert {entry.request_id for entry in first.entries()} == {"request-1", "request-2"}
    assert [note.text for note in first.notes()] == ["the second worker"]
    assert until(lambda: added(first.counts(FINE, time.time())).ok == 2)  # written after the entries
    assert os.fstat(file).st_size == 4 * REGION
    PageRings((file, 3)).observe(a_record(3))
    assert until(lambda: len(list(first.entries())) == 3)
    os.close(file)


def test_a_request_that_is_no_entry_costs_the_others_of_its_batch_nothing() -> None:
    rings = PageRings()
    for number in (1, "\ud800", 3):
        rings._waiting.append((time.time(), a_record(number, status=502, outcome="failure")))
    assert [entry.request_id for entry in rings.entries()] == ["request-3", "request-1"]
    assert added(rings.counts(FINE, time.time())).failed == 3


def test_a_flood_of_requests_is_written_before_the_thread_wakes() -> None:
    rings = PageRings()
    for number in range(page_rings._BATCH * 3):
        rings.observe(a_record(number))
        assert len(rings._waiting) <= page_rings._BATCH
    assert rings.kept() == page_rings._BATCH * 3


def test_without_memory_there_are_no_rings(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError("no memory")

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert page_rings.open_rings() is None


def test_the_counts_begin_at_a_whole_word() -> None:
    assert page_rings._PULSE % 8 == 0
    assert page_rings.REGION % 65536 == 0
    assert page_rings._PULSE + pulse.LENGTH <= page_rings.REGION


def test_a_search_finds_by_every_field_and_by_time() -> None:
    rings = PageRings()
    for number in range(300):
        rings.observe(a_record(number, status=200 + number % 2, model=f"model-{number % 3}"))
    whole = list(rings.entries())
    assert len(whole) == 300
    assert list(rings.entries([needle("model-1")])) == [one for one in whole if one.model == "model-1"]
    odd = list(rings.entries(marked=marked_by("201")))
    assert odd == [one for one in whole if one.status == 201]
    assert list(rings.entries(marked=marked_by("ok"))) == whole
    assert list(rings.entries(marked=marked_by("failed"))) == []
    assert list(rings.entries(marked=marked_by("nothing"))) == whole
    middle = whole[150].at
    older = [one for one in rings.entries((), middle) if one.at < middle]
    assert older == [one for one in whole if one.at < middle]


def test_the_latest_are_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    file = os.memfd_create("test")
    first, second = PageRings((file, 0)), PageRings((file, 1))
    moment = time.time()
    monkeypatch.setattr(time, "time", lambda: moment)
    for number in range(1500):
        first.observe(a_record(number))
        moment += 0.1
    assert [one.request_id for one in first.latest(1000)] == [f"request-{n}" for n in range(1499, 499, -1)]
    second.observe(a_record("other"))
    second._write()
    moment += 0.1
    first.observe(a_record("newest"))
    read: list[RequestEntry] = []
    entries = first.entries
    monkeypatch.setattr(first, "entries", lambda: (read.append(one) or one for one in entries()))
    assert first.latest(1000) == list(entries())[:1000]
    assert [one.request_id for one in first.latest(1000)[:3]] == [
        "request-newest",
        "request-other",
        "request-1499",
    ]
    assert len(read) < 200
    assert first.latest(10) == list(entries())[:10]
    moment -= 3600  # the clock is set back
    first.observe(a_record("of the past"))
    assert "request-of the past" in {one.request_id for one in entries()}
    assert first.latest(1000) == list(entries())[:1000]
    os.close(file)


def test_upstreams_are_counted_for_the_last_half_hour() -> None:
    file, now = os.memfd_create("test"), time.time()
    first, second = PageRings((file, 0)), PageRings((file, 1))
    for rings in (first, second, second):
        rings.observe(a_record())
    assert until(lambda: first.counts_of_upstreams(now)["llama"].requests == 3)
    assert first.counts_of_upstreams(now + 3600)["llama"].requests == 0
    assert PageRings().counts_of_upstreams(now) == {}
    os.close(file)
