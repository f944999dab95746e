"""Provides a data directory, and its database."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from flask_gateway.ledger import database


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "journal").mkdir()
    return tmp_path


@pytest.fixture
def books(data: Path) -> Iterator[sqlite3.Connection]:
    """The database, as somebody else reads it."""
    database.write(data / database.NAME).close()
    with closing(database.read(data / database.NAME)) as connection:
        yield connection
