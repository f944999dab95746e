"""Tests for flask_gateway.server.gunicorn_worker: what it replaces in gunicorn behaves like the original."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http.message import HeaderPolicy

from flask_gateway.server.gunicorn_worker import is_unix_socket

ORIGINAL = HeaderPolicy._peer_is_trusted_proxy


@pytest.mark.parametrize("peer", [("127.0.0.1", 1), ("::1", 1, 0, 0), ("nonsense", 1), "", b"", None])
def test_the_check_of_the_peer_agrees_with_gunicorns_where_no_address_is_trusted(peer: Any) -> None:
    config = Config()
    config.set("forwarded_allow_ips", "")
    message = SimpleNamespace(cfg=config, peer_addr=peer)
    assert not config.forwarded_allow_ips
    assert is_unix_socket(message) == ORIGINAL(message)
