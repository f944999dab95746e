"""Provides a Redis server."""

from __future__ import annotations

from kit.redis_server import server as server  # registers the fixture
