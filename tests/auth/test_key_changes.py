"""A change of the issued keys: all of it or nothing, and then every worker knows."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from kit.issuing import ACTOR, Issuing

from flask_gateway.auth import key_changes
from flask_gateway.auth.key_ring import GENERATION, RING, What
from flask_gateway.model.errors import KeysUnavailable
from flask_gateway.state import StoreError
from flask_gateway.state.memory import MemoryStore


class Failed(Exception):
    """The test fails a change by this."""


def test_a_change_that_fails_is_rolled_back_and_not_announced(
    issuing: Issuing, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    def change() -> None:
        with issuing.changes.change(ACTOR) as step:
            step.touched(1, What.END)
            step.audit("create", "key_a", None, {})
            raise Failed

    with pytest.raises(Failed):
        change()
    assert issuing.actions() == []
    assert store.read(GENERATION) is None
    assert caplog.text == ""


@pytest.mark.parametrize("use", ["change", "reading"])
def test_a_directory_that_cannot_be_written_is_503(tmp_path: Path, store: MemoryStore, use: str) -> None:
    (tmp_path / "data").write_text("a file, not a directory")
    changes = Issuing(tmp_path / "data", store).changes
    opened: AbstractContextManager[object] = changes.change(ACTOR) if use == "change" else changes.reading()
    with pytest.raises(KeysUnavailable) as caught, opened:
        pass
    assert caught.value.retry_after == 5.0


def test_a_store_that_is_away_delays_a_change_until_workers_have_looked(
    issuing: Issuing, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    def announce(*args: object) -> None:
        raise StoreError("away")

    monkeypatch.setattr(key_changes, "announce", announce)
    real, here = time.sleep, threading.get_ident()

    def asleep(seconds: float) -> None:
        slept.append(seconds) if threading.get_ident() == here else real(seconds)

    monkeypatch.setattr(key_changes.time, "sleep", asleep)
    made = issuing.make()
    assert slept == [key_changes._LOOKED]
    assert issuing.actions() == [f"create {made.key['id']}"]


def test_a_change_is_announced_after_its_commit_and_logged(
    issuing: Issuing, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), issuing.changes.change(ACTOR) as step:
        step.touched(7, What.BLOCK)
        step.audit("disable", "key_a", {}, {})
        assert store.read(GENERATION) is None
    assert store.read(RING) == (1, 7, What.BLOCK)
    assert "admin admin at 192.0.2.1: disable key_a" in caplog.text


def test_a_change_of_nothing_is_not_announced(issuing: Issuing, store: MemoryStore) -> None:
    with issuing.changes.change(ACTOR):
        pass
    assert store.read(GENERATION) is None


def test_reading_makes_the_tables_and_changes_nothing(issuing: Issuing) -> None:
    with issuing.changes.reading() as (db, now):
        assert db.execute("SELECT count(*) FROM key").fetchone() == (0,)
    assert now == 1000
