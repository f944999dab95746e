"""Tests files of SQLite: how they are opened and copied, and tables of a newer version."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from flask_gateway.ledger.sqlite_file import connect, copy, pending_steps


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with closing(sqlite3.connect(tmp_path / "a b?.db")) as made:
        made.execute("CREATE TABLE t (n INTEGER)")
    return tmp_path / "a b?.db"


def test_a_file_that_is_missing_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.Error):
        connect(tmp_path / "missing.db", 1)
    assert list(tmp_path.iterdir()) == []


def test_a_path_may_have_any_characters(path: Path) -> None:
    with closing(connect(path, 1)) as connection:
        connection.execute("INSERT INTO t VALUES (7)")
        assert connection.execute("SELECT n FROM t").fetchone() == (7,)


def test_a_copy_is_for_its_owner_and_complete(path: Path, tmp_path: Path) -> None:
    with closing(connect(path, 1)) as connection:
        connection.execute("INSERT INTO t VALUES (7)")
        copy(connection, tmp_path / "copy.db")
    assert (tmp_path / "copy.db").stat().st_mode & 0o077 == 0
    with closing(connect(tmp_path / "copy.db", 1)) as copied:
        assert copied.execute("SELECT n FROM t").fetchone() == (7,)


def test_a_copy_that_fails_leaves_the_earlier_one(path: Path, tmp_path: Path) -> None:
    (tmp_path / "copy.db").write_bytes(b"earlier")
    closed = connect(path, 1)
    closed.close()
    with pytest.raises(sqlite3.Error):
        copy(closed, tmp_path / "copy.db")
    assert (tmp_path / "copy.db").read_bytes() == b"earlier"


def test_tables_of_a_newer_version_are_refused_with_what_to_do(path: Path) -> None:
    with closing(connect(path, 1)) as connection:
        version, steps = pending_steps(connection, path, "flask_gateway.ledger", LookupError)
        assert version == 0
        assert steps
        connection.execute("PRAGMA user_version = 999")
        with pytest.raises(LookupError, match="Install the version that wrote it, or restore a backup"):
            pending_steps(connection, path, "flask_gateway.ledger", LookupError)
