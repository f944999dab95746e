"""Provides a fixture that writes settings files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def toml(tmp_path: Path) -> Callable[[str | bytes], str]:
    """Writes a settings file. Returns its path, the value of ``GATEWAY_CONFIG``."""

    def write(content: str | bytes) -> str:
        path = tmp_path / "gateway.toml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write
