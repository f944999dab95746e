"""Provides a fixture that writes settings files, and a certificate with its key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from kit.tls import make_certificate


@pytest.fixture
def toml(tmp_path: Path) -> Callable[[str | bytes], str]:
    """Writes a settings file. Returns its path, the value of ``GATEWAY_CONFIG``."""

    def write(content: str | bytes) -> str:
        path = tmp_path / "gateway.toml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


@pytest.fixture(scope="package")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with ``certificate.pem``, ``key.pem`` and ``both.pem``."""
    folder = tmp_path_factory.mktemp("pair")
    make_certificate(folder)
    return folder
