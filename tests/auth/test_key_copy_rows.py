"""The rows that a copy of the keys lacks: all of them, some, none, and those of an older backup."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from kit.issuing import Issuing

from flask_gateway.auth import key_copy_rows as rows
from flask_gateway.auth.key_rows import position
from flask_gateway.auth.key_store import KeyStore, transaction
from flask_gateway.state.memory import MemoryStore


class Remote:
    """A database of another machine, as PostgreSQL shows it: with a transaction for reading."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def execute(self, statement: str, parameters: object = ()) -> sqlite3.Cursor:
        return self._db.execute("SELECT 1" if statement.startswith("SET") else statement, parameters)


@pytest.fixture
def issuing(tmp_path: Path, store: MemoryStore) -> Issuing:
    return Issuing(tmp_path / "remote", store)


def pulled(issuing: Issuing, copy: KeyStore, generation: int | None = None) -> rows.Changed | None:
    with issuing.keys.writing() as remote, copy.writing() as local:
        found = rows.changed(Remote(remote), position(local))  # type: ignore[arg-type]
        with transaction(local):
            rows.take(local, found, generation)
    return found


def contents(keys: KeyStore) -> list[list[tuple]]:
    with keys.reading() as db:
        tables = [
            db.execute("SELECT * FROM key ORDER BY number"),
            db.execute("SELECT * FROM secret ORDER BY digest"),
            db.execute("SELECT * FROM audit ORDER BY number"),
            db.execute("SELECT * FROM change ORDER BY seq"),
        ]
        return [table.fetchall() for table in tables]


def test_a_copy_has_what_has_changed_and_no_more_is_read(
    tmp_path: Path, store: MemoryStore, issuing: Issuing, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = KeyStore(tmp_path / "copy")
    first, second = issuing.make(name="a"), issuing.make(name="b")
    assert pulled(issuing, copy, 7).numbers is None
    assert pulled(issuing, copy) is None
    issuing.state(first, "revoke")
    issuing.make(name="a")
    found = pulled(issuing, copy)
    assert (found.numbers, len(found.keys)) == ({1, 3}, 2)
    assert contents(copy) == contents(issuing.keys)
    with copy.reading() as db:
        assert rows.generation(db) == 7
    monkeypatch.setattr(rows, "_MOST_CHANGES", 1)
    issuing.state(second, "disable")
    issuing.state(second, "enable")
    assert pulled(issuing, copy).numbers is None
    assert contents(copy)[:3] == contents(issuing.keys)[:3]


def test_a_database_from_an_older_backup_replaces_the_copy(
    tmp_path: Path, store: MemoryStore, issuing: Issuing
) -> None:
    copy = KeyStore(tmp_path / "copy")
    for name in ("a", "b", "c"):
        issuing.make(name=name)
    pulled(issuing, copy)
    older = Issuing(tmp_path / "older", store)
    older.make(name="z")
    assert pulled(older, copy).numbers is None
    assert contents(copy) == contents(older.keys)


@pytest.mark.parametrize("many", [3, 4])
def test_one_with_as_many_changes_or_more_replaces_it_too(
    tmp_path: Path, store: MemoryStore, issuing: Issuing, many: int
) -> None:
    copy = KeyStore(tmp_path / "copy")
    for _ in range(3):
        issuing.make()
    pulled(issuing, copy)
    older = Issuing(tmp_path / "older", store)
    for _ in range(many):
        older.make()
    assert pulled(older, copy).numbers is None
    assert contents(copy) == contents(older.keys)
