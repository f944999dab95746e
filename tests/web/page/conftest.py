"""A gateway with the page in the test's process."""

from __future__ import annotations

from pathlib import Path

import pytest
from kit.pages import PageClient

from flask_gateway.state.memory import MemoryStore


@pytest.fixture
def page(tmp_path: Path, store: MemoryStore) -> PageClient:
    return PageClient(tmp_path / "data", store)
