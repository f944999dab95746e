"""Provides what the tests of the relay share: scripted sources, callers on a socket, a relay."""

from __future__ import annotations

import socket
import struct
import threading
import time
from typing import Any, ClassVar

from flask_gateway.model.call import Outcome
from flask_gateway.model.errors import GatewayError, UpstreamCut, UpstreamTimeout
from flask_gateway.model.reply import Reply
from flask_gateway.reactor import Reactor
from flask_gateway.streaming.relay import Relay
from kit.replies import PlainTranscript
from kit.waiting import until

SOON = 10.0
BUFFER, ROOM = 64 * 1024, 8192


def pair(room: int = 0) -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a TCP connection, or of one whose buffer holds about so many bytes."""
    if room:
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
    else:
        with socket.create_server(("127.0.0.1", 0)) as server:
            ours = socket.create_connection(server.getsockname())
            theirs, _ = server.accept()
        ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    theirs.settimeout(SOON)
    return ours, theirs


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Piped:
    """A source of the bytes written to :attr:`upstream` (``model.source.Source``); ``X`` breaks it off."""

    opened: ClassVar[list[Piped]] = []

    def __init__(self, patience: float = SOON) -> None:
        self.opened.append(self)
        self.sock, self.upstream = pair()
        self.sock.settimeout(SOON)
        self.patience = patience
        self.holds = False
        self.taken = self.released = self.closed = 0
        self.error: GatewayError | None = None

    @property
    def channel(self) -> Piped | None:
        return self

    def fileno(self) -> int:
        return self.sock.fileno()

    def unblock(self) -> None:
        self.sock.settimeout(0)

    def read(self) -> bytes:
        data = b"" if self.error else self.sock.recv(65536)
        if data.endswith(b"X"):
            self.error, self.holds = UpstreamCut("gone"), True
            data = data[:-1]
        if self.error is not None and not data:
            raise self.error
        self.taken += len(data)
        return data

    def receive(self) -> bytes | None:
        try:
            return self.read()
        except BlockingIOError:
            return None

    def expire(self) -> None:
        self.error = UpstreamTimeout("silent")
        self.sock.shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        self.released += 1
        self.end()

    def close(self) -> None:
        self.closed += 1
        self.end()

    def end(self) -> None:
        self.sock.close()
        self.upstream.close()


class Carried:
    """One relayed stream: the caller's end of it, and its outcomes."""

    def __init__(
        self, relay: Relay, reply: Reply, *, chunked: bool = False, room: int = 0, head: bytes = b""
    ) -> None:
        self.reply = reply
        self.sock, self.caller = pair(room)
        self.told: list[Outcome] = []
        self.done: list[tuple[bool, int]] = []
        self.threads: set[str] = set()
        reply.on_close(self._closed)
        self._finish = lambda clean: self.done.append((clean, len(self.told)))
        relay.start(reply, self.sock, head, chunked=chunked, done=self._finish)

    def _closed(self, outcome: Outcome) -> None:
        self.threads.add(threading.current_thread().name.rpartition("_")[0])
        self.told.append(outcome)

    def read(self, size: int) -> bytes:
        """Read so many bytes."""
        data = b""
        while len(data) < size and (more := self.caller.recv(size - len(data))):
            data += more
        return data

    def over(self) -> bool:
        """Wait for its end and return whether it was clean. It must be reported once, after the settling."""
        assert until(lambda: self.done), "it did not end"
        (done,) = self.done
        assert done[1] == len(self.told) == 1
        assert self.threads == {"settling"}
        return done[0]

    def rest(self) -> bytes:
        """Return all remaining bytes for the caller, after the stream's end."""
        self.over()
        self.sock.close()
        data = b""
        while more := self.caller.recv(65536):
            data += more
        return data

    def close(self) -> None:
        self.sock.close()
        self.caller.close()


class Stage:
    """A relay, and all its streams."""

    def __init__(self) -> None:
        self.reactor = Reactor()
        self.relay = Relay(self.reactor, buffer=BUFFER, send_timeout=SOON)
        self.carried: list[Carried] = []

    def carry(self, source: Any, *, transcript: Any = None, **options: Any) -> Carried:
        reply = Reply(source, transcript or PlainTranscript(), "llama")
        self.carried.append(Carried(self.relay, reply, **options))
        return self.carried[-1]

    def close(self) -> None:
        try:
            assert until(lambda: len(self.relay) == 0), "a stream is left over"
        finally:
            self.relay.close()
            self.reactor.close()
            for one in self.carried:
                one.close()
            while Piped.opened:
                Piped.opened.pop().end()


def proves_alive(stage: Stage) -> None:
    """Assert that another stream works."""
    source = Piped()
    other = stage.carry(source)
    source.upstream.sendall(b"well!")
    assert other.over()
    assert other.rest() == b"well!"


def flood(source: Piped, amount: int) -> bytes:
    """Let a thread of the upstream send more than the caller reads. Return all the data."""
    data = bytes(range(97, 123)) * (amount // 26)

    def send() -> None:
        try:
            source.upstream.sendall(data + b"!")
        except OSError:
            return

    threading.Thread(target=send, daemon=True).start()
    return data + b"!"


#: More than the kernel buffers of a connection.
LOTS = 32 * 1024 * 1024


def stands_still(source: Piped) -> bool:
    """Return whether the relay has stopped reading the upstream."""

    def still() -> bool:
        before = source.taken
        time.sleep(0.05)
        return source.taken == before > 0

    return until(still)
