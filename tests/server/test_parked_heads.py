"""Request heads in parts: parsed without a waiting thread, and bounded in number, time and size."""

from __future__ import annotations

from flask_gateway.server.client_connection import (
    CALLER_TIMEOUT,
    ClientConnection,
)
from flask_gateway.server.parked_heads import MAX_PARKED, STOP_LINGER, ParkedHeads


def connection() -> ClientConnection:
    return ClientConnection(None, None, None, None)  # type: ignore[arg-type]


def test_the_oldest_go_when_there_are_too_many_or_their_time_is_over() -> None:
    parked, conns = ParkedHeads(), [connection() for _ in range(MAX_PARKED + 2)]
    for conn in conns[:-2]:
        parked.add(conn, 10.0)
    assert parked.late(11.0) == []
    for conn in conns[-2:]:
        parked.add(conn, 12.0)
    assert parked.late(12.0) == conns[:2]
    assert parked.oldest() is conns[0]
    parked.remove(conns[0])
    assert parked.late(12.0) == conns[1:2]
    assert parked.late(10.0 + CALLER_TIMEOUT) == conns[1:-2]
    parked.hurry(13.0)
    assert parked.late(13.0 + STOP_LINGER) == conns[1:]
    assert len(parked) == MAX_PARKED + 1
