"""The database of issued keys: files and locks that are refused, and transactions."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from flask_gateway.auth import key_rows, key_store
from flask_gateway.auth.key_store import KeyStore, KeyStoreError, transaction


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    keys = KeyStore(tmp_path)
    with keys.writing() as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(KeyStoreError, match="version 99"), keys.writing():
        pass


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keys.db").write_bytes(b"x" * 4096)
    with pytest.raises(KeyStoreError), KeyStore(tmp_path).reading() as db:
        key_rows.position(db)


def test_a_writer_does_not_wait_for_another_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_store, "PATIENCE", 0.05)
    keys = KeyStore(tmp_path)
    with keys.writing(), pytest.raises(KeyStoreError), KeyStore(tmp_path).writing():
        pass
    with keys.writing():  # the lock is free again
        pass


def test_a_reader_finds_no_database_and_makes_none(tmp_path: Path) -> None:
    keys = KeyStore(tmp_path / "none")
    with pytest.raises(KeyStoreError), keys.reading():
        pass
    assert not keys.exists()


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    keys = KeyStore(tmp_path)
    with keys.writing():
        pass
    with pytest.raises(KeyStoreError, match="readonly"), keys.reading() as db:
        db.execute("DELETE FROM key")


def test_an_exception_rolls_a_transaction_back(tmp_path: Path) -> None:
    keys = KeyStore(tmp_path)
    with keys.writing() as db:
        statement = "INSERT INTO change (key, ends_streams) VALUES (1, 0)"
        with contextlib.suppress(ZeroDivisionError), transaction(db):
            db.execute(statement)
            assert key_rows.position(db).seq == 1
            raise ZeroDivisionError
        assert key_rows.position(db).seq == 0
