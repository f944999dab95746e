"""Provides Redis servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kit.redis_server import server as server  # registers the fixture
from kit.stores import RedisServer


@pytest.fixture
def victim() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server
