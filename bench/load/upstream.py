"""Runs the cheapest possible upstream: one thread, one epoll set, prebuilt answers.

The answers are those of the scripted provider (``flask_gateway/cli/selftest/scripted_answers.py``). Its
server has a thread for each connection, and costs as much CPU as the gateway that the benchmark measures. So
this module has a server of its own, for thousands of streams at a tenth of that.

The model's name chooses the answer: ``tokens-rate``, as in ``200-50``, is a stream of 200 events, 50 of them
a second. Any other name gets a short JSON answer. Each event contains the time at which it was sent.

``python -m bench.load.upstream [PORT]`` prints its port.
"""

from __future__ import annotations

import re
import select
import socket
import sys
import time
from contextlib import suppress
from heapq import heappop, heappush

from flask_gateway.cli.selftest.scripted_answers import DONE, ScriptedAnswer
from flask_gateway.cli.selftest.scripted_provider import LAST_CHUNK, chunk

_STREAM = re.compile(rb'"model":\s*"(\d+)-(\d+)"')
#: Placeholder of the time at which an event was sent, ns of the monotonic clock.
SENT = b"0000000000000000000"
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)

STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


USAGE = {"prompt_tokens": 9, "completion_tokens": 200, "total_tokens": 209}
SCRIPT = ScriptedAnswer("chatcmpl-0123456789abcdef", "bench", 1760000000)


def stream(tokens: int) -> list[bytes]:
    """The events of a stream of ``tokens`` tokens, each with the placeholder of its time."""
    sent = {"sent": SENT.decode()}
    events = [SCRIPT.chunk({"content": f" token{number}"}, **sent) for number in range(tokens)]
    return [*events, SCRIPT.chunk({}, "stop", usage=USAGE), DONE]


BODY = SCRIPT.body("A word or two. " * 20, USAGE)
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY)
) + BODY


class Upstream:
    def __init__(self, port: int = 0) -> None:
        self._listener = socket.create_server(("127.0.0.1", port), backlog=4096)
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self._epoll = select.epoll()
        self._epoll.register(self._listener, select.EPOLLIN)
        self._peers: dict[int, socket.socket] = {}
        self._read: dict[int, bytes] = {}
        self._unsent: dict[int, bytes] = {}
        self._due: list[tuple[float, int, socket.socket, list[bytes], int, float]] = []
        self._number = 0
        self._chunks: dict[int, list[bytes]] = {}

    def serve(self) -> None:
        while True:
            pause = max(0.0, self._due[0][0] - time.monotonic()) if self._due else 1.0
            for fd, events in self._epoll.poll(pause):
                if fd == self._listener.fileno():
                    self._accept()
                elif events & select.EPOLLOUT:
                    self._flush(fd)
                else:
                    self._readable(fd)
            self._tick()

    def _accept(self) -> None:
        with suppress(BlockingIOError):
            while True:
                sock, _ = self._listener.accept()
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._peers[sock.fileno()] = sock
                self._read[sock.fileno()] = b""
                self._epoll.register(sock.fileno(), select.EPOLLIN)

    def _close(self, fd: int) -> None:
        self._epoll.unregister(fd)
        self._peers.pop(fd).close()
        del self._read[fd]
        self._unsent.pop(fd, None)

    def _readable(self, fd: int) -> None:
        try:
            data = self._peers[fd].recv(1 << 20)
        except OSError:
            data = b""
        if not data:
            self._close(fd)
            return
        data = self._read[fd] + data
        head = data.find(b"\r\n\r\n")
        length = _LENGTH.search(data, 0, head) if head >= 0 else None
        if head < 0 or (length and len(data) < head + 4 + int(length[1])):
            self._read[fd] = data
            return
        self._read[fd] = b""
        self._answer(fd, data)

    def _answer(self, fd: int, request: bytes) -> None:
        asked = _STREAM.search(request)
        if asked is None:
            self._send(fd, ANSWER)
            return
        tokens, rate = int(asked[1]), int(asked[2])
        if tokens not in self._chunks:
            self._chunks[tokens] = [chunk(one) for one in stream(tokens)]
        self._send(fd, STREAM_HEAD)
        self._number += 1
        # Streams are spread over one interval, as real ones are.
        begin = time.monotonic() + (self._number % 97) / 97 / rate
        heappush(self._due, (begin, self._number, self._peers[fd], self._chunks[tokens], 0, 1 / rate))

    def _tick(self) -> None:
        now, due = time.monotonic(), self._due
        while due and due[0][0] <= now:
            when, number, sock, chunks, at, step = heappop(due)
            fd = sock.fileno()
            if fd < 0:
                continue
            if at == len(chunks) - 2:
                self._send(fd, b"".join(chunks[at:]) + LAST_CHUNK)
            else:
                self._send(fd, chunks[at].replace(SENT, b"%019d" % time.monotonic_ns()))
                heappush(due, (when + step, number, sock, chunks, at + 1, step))

    def _send(self, fd: int, data: bytes) -> None:
        if fd in self._unsent:
            self._unsent[fd] += data
            return
        try:
            sent = self._peers[fd].send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return
        if sent < len(data):
            self._unsent[fd] = data[sent:]
            self._epoll.modify(fd, select.EPOLLIN | select.EPOLLOUT)

    def _flush(self, fd: int) -> None:
        data = self._unsent.pop(fd)
        self._epoll.modify(fd, select.EPOLLIN)
        self._send(fd, data)


if __name__ == "__main__":
    upstream = Upstream(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    print(upstream.port, flush=True)
    upstream.serve()
