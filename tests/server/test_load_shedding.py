"""Heads that do not go on, and callers for whom there is no descriptor."""

from __future__ import annotations

import os
import socket

import pytest

from flask_gateway.model.errors import Overloaded
from flask_gateway.server.client_connection import ClientConnection
from flask_gateway.server.load_shedding import PATIENCE, PendingHeads, ReserveDescriptor, turn_away


class Config:
    is_ssl = False


def test_heads_are_ended_when_they_have_had_their_time() -> None:
    unfinished, pairs = PendingHeads(), [socket.socketpair() for _ in range(3)]
    for ours, _ in pairs:
        ours.setblocking(False)
    early, late, done = (ClientConnection(None, ours, None, None) for ours, _ in pairs)
    unfinished.add(early, 10.0)
    unfinished.add(done, 10.0)
    unfinished.add(late, 10.5)
    unfinished.remove(done)
    assert unfinished.cut(10.0 + PATIENCE) == 0
    assert unfinished.cut(10.1 + PATIENCE) == 1
    assert unfinished.cut(10.1 + PATIENCE) == 0
    assert early.sock.recv(1) == b""
    for conn in (late, done):
        with pytest.raises(BlockingIOError):
            conn.sock.recv(1)
    for pair in pairs:
        for sock in pair:
            sock.close()


def test_a_caller_is_told_by_the_descriptor_that_was_kept_back() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        spare = ReserveDescriptor()
        kept = spare._descriptor
        assert kept is not None
        assert not spare.refuse(listener, b"no")  # nobody is there
        with socket.create_connection(listener.getsockname()) as caller:
            caller.sendall(b"GET")
            assert spare.refuse(listener, b"no")
            assert (caller.recv(9), caller.recv(9)) == (b"no", b"")
        assert spare._descriptor == kept  # the same number: it had been let go, and is held again
        os.close(kept)


def test_a_caller_for_whom_no_thread_can_be_started_is_told() -> None:
    ours, caller = socket.socketpair()
    with ours, caller:
        caller.sendall(b"GET")
        request_id = turn_away(
            ClientConnection(Config(), ours, None, None), Overloaded("no", retry_after=1.0)
        )
        answer = caller.recv(9999)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert request_id.encode() in answer
