"""Tests the writing thread: a bound on what waits, failures that end nothing, and the rest at the end."""

from __future__ import annotations

import threading

import pytest
from kit.cached import KEY, OTHER, entry

from flask_gateway.cache import writer as module
from flask_gateway.cache.entries import MemoryEntries
from flask_gateway.cache.entry import KeptAnswer
from flask_gateway.cache.writer import Writer


def test_entries_are_written_and_told() -> None:
    entries, told = MemoryEntries(2000), list[tuple[bool, int]]()
    writer = Writer(entries, lambda kept, gone: told.append((kept, gone)))
    assert writer.put(KEY, entry(b"x" * 1000))
    assert writer.put(OTHER, entry(b"y" * 1000))
    assert writer.put(KEY, entry(b"x" * 3000))
    writer.close()
    assert told == [(True, 0), (True, 1), (False, 0)]
    assert entries.get(OTHER) == entry(b"y" * 1000)
    assert not writer.put(KEY, entry())  # the process ends


def test_too_much_that_waits_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING", 100)
    goes_on = threading.Event()
    writer = Writer(MemoryEntries(1 << 20), lambda kept, gone: None)
    writer.run(lambda: goes_on.wait(20))
    assert writer.put(KEY, entry(b"x" * 60))
    assert not writer.put(OTHER, entry(b"x" * 60))
    goes_on.set()
    writer.run(lambda: None)
    writer._pool.submit(lambda: None).result()
    assert writer.put(OTHER, entry(b"x" * 60))
    writer.close()


def test_a_failure_ends_nothing(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    entries, told = MemoryEntries(1 << 20), list[bool]()
    put = entries.put

    def fails_once(key: bytes, one: KeptAnswer) -> bool:
        monkeypatch.setattr(entries, "put", put)
        raise OSError("no disk")

    monkeypatch.setattr(entries, "put", fails_once)
    writer = Writer(entries, lambda kept, gone: told.append(kept))
    assert writer.put(KEY, entry())
    assert writer.put(OTHER, entry())
    writer.close()
    assert told == [False, True]
    assert "could not be kept" in caplog.text
