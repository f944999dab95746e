"""The last requests, counts and notes that the operator's page shows."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from kit.pages import a_record
from kit.waiting import until

from flask_gateway.telemetry import page_rings, pulse
from flask_gateway.telemetry import rings as ring_files
from flask_gateway.telemetry.page_rings import LATEST, REGION, PageRings
from flask_gateway.telemetry.pulse import FINE, added
from flask_gateway.telemetry.recent import marked_by, needle


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


def test_a_worker_that_begins_takes_no_memory_from_one_that_began_at_the_same_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The size that it knows may be old. Cutting the file ends the processes that map it (SIGBUS)."""
    file = os.memfd_create("test")
    second = PageRings((file, 1))
    fstat, seen = os.fstat, iter([SimpleNamespace(st_size=0)])
    with monkeypatch.context() as patched:
        patched.setattr(os, "fstat", lambda descriptor: next(seen, None) or fstat(descriptor))
        first = PageRings((file, 0))
    assert os.fstat(file).st_size == 2 * REGION
    second.observe(a_record(2))
    assert until(lambda: [entry.request_id for entry in first.entries()] == ["request-2"])
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
    assert [one.request_id for one in first.latest()] == [f"request-{n}" for n in range(1499, 499, -1)]
    second.observe(a_record("other"))
    second._write()
    moment += 0.1
    first.observe(a_record("newest"))
    read = counted(monkeypatch)
    newest = ["request-newest", "request-other", "request-1499"]
    assert [one.request_id for one in first.latest(3)] == newest
    assert len(read) == 2
    assert first.latest() is first.latest(LATEST)
    assert len(read) == 2
    assert list(first.latest()) == list(first.entries())[:LATEST]
    os.close(file)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Gets an item for each entry that is read from now on."""
    read: list[object] = []
    body = ring_files._body
    monkeypatch.setattr(ring_files, "_body", lambda *place: (read.append(place), body(*place))[1])
    return read


def test_the_latest_have_each_request_at_once_and_follow_a_clock_that_is_set_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rings, moment = PageRings(), time.time()
    monkeypatch.setattr(time, "time", lambda: moment)
    for number in range(20):
        rings.observe(a_record(number))
        assert rings.latest(1)[0].request_id == f"request-{number}"
        moment += 0.1
    moment -= 3600
    for number in range(LATEST):
        rings.observe(a_record(f"past-{number}"))
        assert len(rings.latest()) == min(21 + number, LATEST)
        moment += 0.1
    assert list(rings.latest()) == list(rings.entries())[:LATEST]
    assert rings.latest(1)[0].request_id == f"request-past-{LATEST - 1}"


def test_the_latest_are_whole_while_threads_write_and_read() -> None:
    rings, ended = PageRings(), threading.Event()
    lengths: list[int] = []

    def read() -> None:
        while not ended.is_set():
            ids = [one.request_id for one in rings.latest()]
            assert len(ids) == len(set(ids))
            lengths.append(len(ids))

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        for number in range(LATEST // 2):
            rings.observe(a_record(number))
        ended.set()
    for reader in readers:
        reader.result()
    assert max(lengths) <= LATEST // 2 == len(rings.latest())


def test_upstreams_are_counted_for_the_last_half_hour() -> None:
    file, now = os.memfd_create("test"), time.time()
    first, second = PageRings((file, 0)), PageRings((file, 1))
    for rings in (first, second, second):
        rings.observe(a_record())
    assert until(lambda: first.counts_of_upstreams(now)["llama"].requests == 3)
    assert first.counts_of_upstreams(now + 3600)["llama"].requests == 0
    assert PageRings().counts_of_upstreams(now) == {}
    os.close(file)
