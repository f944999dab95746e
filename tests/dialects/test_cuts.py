"""An upstream's answer, cut at every byte of it: JSON and events, in all three framings of HTTP.

Before the commit a cut goes to the next upstream. After it the caller is told. Never does it look whole.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from kit.calls import ROLE, chunk, make_call, sse

from flask_gateway.config.schema import Timeouts
from flask_gateway.model.call import Call
from flask_gateway.model.reply import Reply
from flask_gateway.reactor import Reactor
from flask_gateway.routing.dispatcher import Candidate, Dispatcher
from flask_gateway.upstreams.http_upstream import HttpUpstream
from flask_gateway.upstreams.mock.upstream import MockUpstream
from flask_gateway.upstreams.transport.client import UpstreamClient

WORDS = [f"word{number} " for number in range(12)]
JSON_BODY = json.dumps(
    {
        "id": "1",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"content": "".join(WORDS * 16)}}],
    }
).encode()
SSE_BODY = sse(ROLE, *(chunk(word) for word in WORDS), chunk(finish="stop"))
FRAMINGS = ("chunked", "length", "close")


def framed(body: bytes, framing: str, kind: str) -> bytes:
    """A whole answer as it goes over the wire."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n"
    if framing == "length":
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    if framing == "close":
        return f"{head}Connection: close\r\n\r\n".encode() + body
    pieces = [body[at : at + 150] for at in range(0, len(body), 150)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks + b"0\r\n\r\n"


class Cutter:
    """A server that answers every request with the same bytes, and closes."""

    def __init__(self) -> None:
        self.answer = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(sock,), daemon=True).start()

    def _answer(self, sock: socket.socket) -> None:
        with sock:
            sock.settimeout(5)
            sock.recv(65536)
            sock.sendall(self.answer)
            sock.shutdown(socket.SHUT_WR)
            with suppress(TimeoutError, ConnectionError):
                while sock.recv(65536):  # else what is unread would reset the connection, and eat the end
                    pass

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


@pytest.fixture(scope="module")
def cutter() -> Iterator[Cutter]:
    server = Cutter()
    yield server
    server.close()


@pytest.fixture
def dispatcher(cutter: Cutter) -> Iterator[Dispatcher]:
    reactor = Reactor()
    http = UpstreamClient(reactor)
    clocks = Timeouts.within(5)
    primary = HttpUpstream("primary", cutter.url, None, http, clocks)
    fallback = MockUpstream("fallback", "mock://fallback", clocks)

    def candidates(call: Call) -> list[Candidate]:
        return [Candidate(primary, "a"), Candidate(fallback, "b")]

    # A budget that so many failures in a row cannot use up: that is tested elsewhere.
    walker = Dispatcher(candidates)
    walker._budget("primary").MAX_BALANCE = 1e9  # type: ignore[misc]
    walker._budget("primary")._balance = 1e9
    yield walker
    http.close()
    reactor.close()


def cuts(whole: bytes, step: int) -> range:
    """Where to cut: everywhere, or with a stride that meets every kind of place."""
    return range(0, len(whole), step)


STEPS = pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.soak), 7])


@STEPS
@pytest.mark.parametrize("framing", FRAMINGS)
def test_json_is_whole_or_comes_from_elsewhere(
    dispatcher: Dispatcher, cutter: Cutter, framing: str, step: int
) -> None:
    whole = framed(JSON_BODY, framing, "application/json")
    for at in cuts(whole, step):
        cutter.answer = whole[:at]
        reply = dispatcher.send(make_call())
        body = b"".join(reply)
        assert reply.upstream == "fallback" or body == JSON_BODY, at
        assert json.loads(body)["choices"]


@STEPS
@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_stream_is_whole_or_elsewhere_or_says_that_it_broke(
    dispatcher: Dispatcher, cutter: Cutter, framing: str, step: int
) -> None:
    whole = framed(SSE_BODY, framing, "text/event-stream")
    seen = set()
    for at in cuts(whole, step):
        cutter.answer = whole[:at]
        seen.add(_judged(dispatcher.send(make_call(stream=True)), at))
    assert seen == {"elsewhere", "broken", "whole"}


def _judged(reply: Reply, at: int) -> str:
    body = b"".join(reply)
    complete = body.endswith(b"data: [DONE]\n\n")
    if reply.upstream == "fallback":
        assert complete, at
        return "elsewhere"
    if complete:
        # All the words and the finish reason have come, whatever of the end is missing.
        assert all(json.dumps(word).encode() in body for word in WORDS), at
        assert b'"finish_reason":"stop"' in body, at
        return "whole"
    events = body.strip().split(b"\n\n")
    assert json.loads(events[-1].removeprefix(b"data: "))["error"]["code"] == "upstream_stream_cut", at
    assert b"[DONE]" not in body, at
    assert SSE_BODY.startswith(b"\n\n".join(events[:-1])), at
    return "broken"
