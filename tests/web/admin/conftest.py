"""A gateway with issued keys in the test's process."""

from __future__ import annotations

from pathlib import Path

import pytest
from kit.admins import AdminClient

from flask_gateway.state.memory import MemoryStore


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def admins(data: Path, store: MemoryStore) -> AdminClient:
    return AdminClient(data, store)
