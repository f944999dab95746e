"""Relayed sessions on sockets: bounded buffers, polite ends, and ends in the middle of a frame."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from kit.relays import SOON, pair
from kit.waiting import until

from flask_gateway.model.call import Operation, Outcome
from flask_gateway.model.errors import GatewayError, ServerShutdown
from flask_gateway.model.reply import Reply
from flask_gateway.reactor import Reactor
from flask_gateway.realtime.frames import CLOSE, TEXT, UpstreamFrames, close_frame, frame
from flask_gateway.realtime.session import LiveSession
from flask_gateway.realtime.session_transcript import SessionTranscript
from flask_gateway.realtime.tunnel import Tunnel
from flask_gateway.realtime.tunnels import Tunnels
from flask_gateway.streaming.relay import Relay


class Wire:
    """The gateway's end of an upstream's connection (``realtime.relayed_session.Duplex``)."""

    patience, holds = SOON, False

    def __init__(self) -> None:
        self.sock, self.upstream = pair()
        self.error: GatewayError | None = None
        self.channel = self
        self.fileno = self.sock.fileno

    def unblock(self) -> None:
        self.sock.setblocking(False)

    def receive(self) -> bytes | None:
        if self.error is not None:
            raise self.error
        try:
            return self.sock.recv(16384)
        except BlockingIOError:
            return None

    def send(self, data: bytes | bytearray) -> int:
        try:
            return self.sock.send(data)
        except BlockingIOError:
            return 0

    def expire(self) -> None: ...

    def release(self) -> None:
        self.close()

    def close(self) -> None:
        with suppress(OSError):
            self.sock.close()


class Scene:
    """A session between two sockets, which a test holds."""

    def __init__(self, relay: Relay, *, idle: float = 100.0) -> None:
        self.tunnels = Tunnels(relay)
        self.wire = Wire()
        self.outcomes: list[Outcome] = []
        self.upstream = self.wire.upstream
        transcript = SessionTranscript(Operation.REALTIME, "live")
        reply = Reply(self.wire, transcript, "live", "m")  # type: ignore[arg-type]  # it is only received from
        reply.on_settled(self.outcomes.append)
        session = LiveSession(None, Operation.REALTIME, "m")  # type: ignore[arg-type]  # no event asks it
        session.opened(reply)
        ours, self.caller = pair()
        self.ours, self.done = ours, list[bool]()
        self.tunnel = Tunnel(session, reply, 100_000, idle, lambda size: None)
        self.tunnels.start(self.tunnel, ours, b"HTTP/1.1 101\r\n\r\n", b"", self._end)
        assert self.caller.recv(16) == b"HTTP/1.1 101\r\n\r\n"

    def _end(self, clean: bool) -> None:
        self.ours.close()
        self.done.append(clean)

    def close(self) -> None:
        for sock in (self.caller, self.upstream, self.ours, self.wire.sock):
            sock.close()


@pytest.fixture
def relay() -> Iterator[Relay]:
    reactor = Reactor()
    relay = Relay(reactor)
    yield relay
    relay.close()
    reactor.close()


@pytest.fixture
def scene(relay: Relay) -> Iterator[Scene]:
    scene = Scene(relay)
    yield scene
    scene.caller.close()
    assert until(lambda: scene.done)
    scene.close()


def rest(sock: socket.socket) -> bytes:
    data = b""
    while received := sock.recv(65536):
        data += received
    return data


def events_and_code(data: bytes) -> tuple[list[Any], int]:
    texts = UpstreamFrames(10**6).feed(data)
    at = data.index(bytes((0x80 | CLOSE,)))
    return [json.loads(text) for text in texts], int.from_bytes(data[at + 2 : at + 4], "big")


def test_bytes_pass_both_ways(scene: Scene):
    up, down = frame(TEXT, b'{"type":"x"}', masked=True), frame(TEXT, b'{"type":"y"}', masked=False)
    scene.caller.sendall(up[:5])
    scene.caller.sendall(up[5:])
    assert scene.upstream.recv(len(up), socket.MSG_WAITALL) == up
    scene.upstream.sendall(down[:3])
    assert scene.caller.recv(3, socket.MSG_WAITALL) == down[:3]  # nothing waits for its end
    scene.upstream.sendall(down[3:])
    assert scene.caller.recv(len(down) - 3, socket.MSG_WAITALL) == down[3:]


def test_an_end_in_the_middle_of_a_frame_closes_without_an_event(scene: Scene):
    scene.upstream.sendall(frame(TEXT, b"x" * 1000, masked=False)[:100])
    assert len(scene.caller.recv(100, socket.MSG_WAITALL)) == 100
    scene.upstream.close()
    assert rest(scene.caller) == b""
    scene.caller.close()
    assert until(lambda: scene.outcomes)
    assert scene.outcomes[0].error is not None
    assert scene.outcomes[0].error.code == "upstream_stream_cut"


def test_a_stopping_process_waits_for_the_end_of_a_frame(scene: Scene):
    text = frame(TEXT, b'{"type":"y"}', masked=False)
    scene.upstream.sendall(text[:4])
    assert scene.caller.recv(4, socket.MSG_WAITALL) == text[:4]
    scene.tunnels.drain()
    scene.upstream.sendall(text[4:])
    events, code = events_and_code(text[:4] + rest(scene.caller))
    assert [event["type"] for event in events] == ["y", "error"]
    assert (events[1]["error"]["code"], code) == ("server_shutdown", 1012)
    assert rest(scene.upstream)[0] == 0x80 | CLOSE


def test_a_cancelled_session_says_why(scene: Scene):
    scene.wire.error = ServerShutdown("stopping")
    scene.upstream.shutdown(socket.SHUT_WR)
    events, code = events_and_code(rest(scene.caller))
    assert (events[0]["error"]["code"], code) == ("server_shutdown", 1012)


def test_bytes_that_are_no_frames_end_both_sides(scene: Scene):
    scene.caller.sendall(b"GET / HTTP/1.1\r\n\r\n")
    events, code = events_and_code(rest(scene.caller))
    assert (events[0]["error"]["code"], code) == ("invalid_frames", 1002)
    assert rest(scene.upstream)[0] == 0x80 | CLOSE


def test_closing_frames_pass_and_the_caller_gets_the_end_of_the_connection(scene: Scene):
    scene.caller.sendall(close_frame(1000, masked=True))
    assert scene.upstream.recv(100)[0] == 0x80 | CLOSE
    scene.upstream.sendall(close_frame(1000, masked=False))
    scene.upstream.close()
    assert rest(scene.caller) == close_frame(1000, masked=False)
    scene.caller.close()
    assert until(lambda: scene.outcomes)
    assert scene.outcomes[0].error is None


def test_an_upstream_that_does_not_answer_a_close_is_not_awaited(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("flask_gateway.realtime.tunnel.CLOSE_WAIT", 0.05)
    scene.caller.sendall(close_frame(1000, masked=True))
    assert rest(scene.caller) == close_frame(1000, masked=False)


def test_a_silent_session_ends(relay: Relay):
    scene = Scene(relay, idle=0.05)
    events, code = events_and_code(rest(scene.caller))
    assert (events[0]["error"]["code"], code) == ("session_idle", 1001)
    scene.caller.close()
    assert until(lambda: scene.done)
    scene.close()


def test_a_slow_end_stops_the_other(scene: Scene):
    """Each direction holds a bounded number of bytes: the kernel's buffers, and ours."""
    text = frame(TEXT, b"x" * 60_000, masked=False)
    scene.upstream.settimeout(0.3)
    sent = 0
    with suppress(TimeoutError):
        for _ in range(1000):
            scene.upstream.sendall(text)
            sent += len(text)
    assert sent < 30_000_000
    scene.caller.settimeout(SOON)
    got = 0
    while got < sent:
        got += len(scene.caller.recv(1 << 20))
