"""The fixture of a Redis server. The ``conftest.py`` of a folder registers it by its name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kit.stores import RedisServer


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """One that no test harms."""
    with RedisServer() as made:
        yield made
