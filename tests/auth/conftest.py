"""Provides issued keys: alone in a directory, and behind /admin/v1 of a gateway."""

from __future__ import annotations

from pathlib import Path

import pytest
from kit.admins import AdminClient
from kit.issuing import Issuing

from flask_gateway.state.memory import MemoryStore


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def issuing(data: Path, store: MemoryStore) -> Issuing:
    return Issuing(data, store)


@pytest.fixture
def admins(data: Path, store: MemoryStore) -> AdminClient:
    return AdminClient(data, store)
