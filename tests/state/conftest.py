"""Provides Redis servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kit.stores import RedisServer


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """One that no test harms."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def victim() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server
