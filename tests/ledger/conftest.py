"""A data directory, and lines for its journals."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flask_gateway.ledger import database
from flask_gateway.ledger.lines import Opened, Settled
from flask_gateway.model.calendar_windows import Calendar
from flask_gateway.pricing.units import Units

#: 2026-11-27 00:00 UTC.
NOW = 1795737600
CALENDAR = Calendar()


def opened(n: int, **more: Any) -> Opened:
    return Opened(**{"n": n, "id": f"call-{n}", "at": NOW, "key": "key_a", **more})


def settled(n: int, **more: Any) -> Settled:
    units = Units(input=10, output=2)
    values = {"n": n, "id": f"call-{n}", "at": NOW, "key": "key_a", "model": "m", "upstream": "up", "cost": n}
    return Settled(**{**values, "units": units, **more})


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
