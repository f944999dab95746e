"""Builds a reply over a scripted connection, and drives it by iteration or by the relay."""

from __future__ import annotations

import os
import socket
import threading
from types import SimpleNamespace
from typing import Any

from flask_gateway.config.schema import Timeouts
from flask_gateway.dialects.transcripts import transcript_for
from flask_gateway.model.reply import Reply
from flask_gateway.reactor import Reactor
from flask_gateway.streaming.relay import Relay
from flask_gateway.upstreams.transport.client import ResponseSource
from flask_gateway.upstreams.transport.deadlines import UpstreamAttempt
from flask_gateway.upstreams.transport.http1 import read_head
from flask_gateway.upstreams.transport.response import UpstreamResponse
from kit.calls import make_call

#: A step at which the socket has no data.
NOTHING = None
Script = list[bytes | Exception | None]


class Wire:
    """A connection whose socket returns the steps of a script. It always polls as readable."""

    def __init__(self, script: Script) -> None:
        self.script = list(script)
        self.sock: Any = self
        self.fate = "lost"
        self._fd = os.eventfd(1)
        self._waits = True

    def recv(self, size: int) -> bytes:
        while self.script:
            step = self.script.pop(0)
            if isinstance(step, Exception):
                raise type(step)  # a new instance: the scripted one would form a reference cycle with a frame
            if step is not NOTHING:
                assert len(step) <= size
                return step
            if not self._waits:
                raise BlockingIOError
        return b""

    def settimeout(self, seconds: float) -> None:
        self._waits = bool(seconds)

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self.fate = -1, "closed"

    def put_back(self, connection: Wire) -> None:
        """Take the connection back: it is its own pool."""
        if self._fd >= 0:
            self.close()
            self.fate = "kept"


HEAD = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


def reply_over(fields: list[str], script: Script) -> tuple[Reply, Wire]:
    """A reply to a chat stream whose bytes arrive as the script says."""
    call, wire = make_call(stream=True), Wire(script)
    head = read_head((HEAD + "".join(f"{field}\r\n" for field in fields) + "\r\n").encode())
    response = UpstreamResponse(wire, head, b"")
    response._connection, response._pool = wire, wire
    transcript = transcript_for(call, "llama")
    exchange = UpstreamAttempt(call, "llama", Timeouts(), lambda: transcript.begun)
    exchange.answered()
    return Reply(ResponseSource(SimpleNamespace(raw=response), exchange), transcript, "llama"), wire  # type: ignore[arg-type]


class Relayed:
    """Sends one reply after another through a relay."""

    def __init__(self) -> None:
        self.reactor = Reactor()
        self.relay = Relay(self.reactor)

    def drive(self, reply: Reply) -> bytes:
        """The body that the caller receives from the relay."""
        gateway_end, caller = socket.socketpair()
        over = threading.Event()
        clean: list[bool] = []

        def done(well: bool) -> None:
            clean.append(well)
            gateway_end.close()
            over.set()

        with caller:
            caller.settimeout(10)
            self.relay.start(reply, gateway_end, b"", chunked=False, done=done)
            body = b""
            while data := caller.recv(65536):
                body += data
            assert over.wait(10)
        assert clean == [True]
        return body

    def close(self) -> None:
        assert len(self.relay) == 0
        self.relay.close()
        self.reactor.close()


def iterated(reply: Reply) -> bytes:
    """The body of a reply that a serving thread iterates."""
    body = b"".join(reply)
    reply.close()
    return body
