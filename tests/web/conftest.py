"""Provides a mocked upstream."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import responses
from kit.upstream_mock import UpstreamMock


@pytest.fixture
def upstream() -> Iterator[responses.RequestsMock]:
    """A request that no test has registered fails the test."""
    with UpstreamMock() as mock:
        yield mock
