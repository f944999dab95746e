"""Provides reactors, and a pair of connected sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from kit.reactors import connected

from flask_gateway.reactor import Reactor, hangup, loop


@pytest.fixture(params=["epoll", "sweep", "sweep without RDHUP"])
def any_reactor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reactor]:
    """A reactor with epoll, and one without as on other platforms."""
    if request.param != "epoll":
        monkeypatch.setattr(loop, "open_hangups", hangup.PolledHangups)
        monkeypatch.setattr(hangup, "SWEEP", 0.02)
    if request.param == "sweep without RDHUP":
        monkeypatch.setattr(hangup, "_RDHUP", 0)
    found = Reactor()
    yield found
    found.close()


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    found = Reactor()
    yield found
    found.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Our end and the peer's, over TCP."""
    with connected() as (ours, peer):
        yield ours, peer
