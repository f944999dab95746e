"""Tests what every store of entries does, in memory and in the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kit.cached import KEY, OTHER, entry

from flask_gateway.cache.entries import Entries, MemoryEntries
from flask_gateway.cache.lmdb_file import LmdbEntries

ROOM = 1 << 20


@pytest.fixture(params=["memory", "file"])
def entries(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Entries]:
    made: Entries = MemoryEntries(ROOM) if request.param == "memory" else LmdbEntries(tmp_path, ROOM)
    assert made.open()
    yield made
    made.close()


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def test_an_entry_is_found_by_its_key_alone(entries: Entries) -> None:
    assert entries.get(KEY) is None
    assert entries.put(KEY, entry())
    assert entries.get(KEY) == entry()
    assert entries.get(OTHER) is None


def test_a_newer_entry_takes_the_place_of_the_older(entries: Entries) -> None:
    assert entries.put(KEY, entry(b"old", 1.0))
    assert entries.put(KEY, entry(b"new", 2.0))
    assert entries.get(KEY) == entry(b"new", 2.0)
    assert entries.stats().entries == 1


def test_a_full_store_drops_old_entries_and_stays_within_its_size(entries: Entries) -> None:
    body = b"x" * 20_000
    for number in range(200):  # four times as much as there is room
        assert entries.put(key(number), entry(body, float(number)))
    assert entries.get(key(0)) is None
    assert entries.get(key(199)) is not None
    assert entries.evicted > 0
    stats = entries.stats()
    assert 0 < stats.used <= stats.most == ROOM
    assert stats.entries + entries.evicted == 200


def test_an_entry_beyond_all_room_is_not_kept(entries: Entries) -> None:
    assert not entries.put(KEY, entry(b"x" * ROOM))
    assert entries.get(KEY) is None
    assert entries.put(OTHER, entry())


def test_a_cleared_store_is_empty_and_goes_on(entries: Entries) -> None:
    assert entries.put(KEY, entry())
    entries.clear()
    assert entries.get(KEY) is None
    assert entries.stats().entries == 0
    assert entries.put(KEY, entry())
    assert entries.get(KEY) is not None
