"""Slow request heads, and callers for whom no descriptor or thread is left."""

from __future__ import annotations

import os
import socket

import pytest

from flask_gateway.model.error_headers import error_headers
from flask_gateway.model.errors import Overloaded
from flask_gateway.server.client_connection import ClientConnection
from flask_gateway.server.load_shedding import HEAD_TIMEOUT, PendingHeads, ReserveDescriptor, turn_away


class Config:
    is_ssl = False


def test_late_heads_are_cut() -> None:
    pending, pairs = PendingHeads(), [socket.socketpair() for _ in range(3)]
    for ours, _ in pairs:
        ours.setblocking(False)
    early, late, done = (ClientConnection(None, ours, None, None) for ours, _ in pairs)
    pending.add(early, 10.0)
    pending.add(done, 10.0)
    pending.add(late, 10.5)
    pending.remove(done)
    assert pending.cut(10.0 + HEAD_TIMEOUT) == 0
    assert pending.cut(10.1 + HEAD_TIMEOUT) == 1
    assert pending.cut(10.1 + HEAD_TIMEOUT) == 0
    assert early.sock.recv(1) == b""
    for conn in (late, done):
        with pytest.raises(BlockingIOError):
            conn.sock.recv(1)
    for pair in pairs:
        for sock in pair:
            sock.close()


def test_the_reserve_descriptor_answers_a_caller() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        reserve = ReserveDescriptor()
        assert not reserve.refuse(listener, b"no")  # no connection waits
        for _ in range(2):  # it is taken again after each refusal
            with socket.create_connection(listener.getsockname()) as caller:
                caller.sendall(b"GET")
                assert reserve.refuse(listener, b"no")
                assert (caller.recv(9), caller.recv(9)) == (b"no", b"")
        kept = reserve._descriptor
        assert kept is not None
        os.close(kept)


def test_a_caller_gets_503_when_no_thread_can_start() -> None:
    ours, caller = socket.socketpair()
    with ours, caller:
        caller.sendall(b"GET")
        request_id = turn_away(
            ClientConnection(Config(), ours, None, None), Overloaded("no", retry_after=1.0)
        )
        answer = caller.recv(9999)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert request_id.encode() in answer
    # The same headers as those of an error of a view (``web/error_handlers.py``).
    names = {
        line.partition(b":")[0].lower().decode() for line in answer.split(b"\r\n\r\n")[0].splitlines()[1:]
    }
    assert names - {"connection", "content-type", "content-length"} == {
        "x-request-id",
        "x-trace-id",
        *(name.lower() for name in error_headers(Overloaded("no", retry_after=1.0))),
    }
