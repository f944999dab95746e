"""Runs many callers in one process: opens streams, reads every byte, and prints the measurements.

``python -m bench.load.callers URL STREAMS TOKENS RATE [KEY [SPREAD [LIMIT]]]`` prints one line of JSON. Every
stream is compared, byte by byte, with the upstream's bytes. After LIMIT seconds the callers stop waiting.
"""

from __future__ import annotations

import json
import re
import select
import socket
import sys
import time
from urllib.parse import urlsplit

from .upstream import SENT, stream

_CHUNK = re.compile(rb"([0-9a-fA-F]+)\r\n")
_SENT = re.compile(rb'"sent": "(\d{19})"')
#: The cost that a gateway with prices adds to the usage. It writes that event without blanks.
_COST = re.compile(rb',"cost":[0-9.]+')


def request(host: str, path: str, model: str, key: str, *, streams: bool = True) -> bytes:
    body = json.dumps(
        {
            "model": model,
            "stream": streams,
            "messages": [{"role": "user", "content": "Say a few words about the weather."}],
            **({"stream_options": {"include_usage": True}} if streams else {}),
        }
    ).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def unchunked(data: bytes) -> bytes | None:
    """The body; ``None`` if its end is missing."""
    parts, at = [], 0
    while match := _CHUNK.match(data, at):
        size = int(match[1], 16)
        if not size:
            return b"".join(parts)
        at = match.end() + size + 2
        parts.append(data[match.end() : at - 2])
    return None


#: The longest wait for anything, seconds.
TIMEOUT = 120.0
#: The end of a chunked body. It may arrive in pieces.
_END = b"\n\r\n0\r\n\r\n"


class Stream:
    """The stream of one caller."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.asked = time.monotonic()
        self.first = 0.0
        self.parts: list[bytes] = []
        #: The delay of each event, seconds.
        self.delays: list[float] = []
        self._tail = b""

    def take(self, data: bytes) -> bool:
        """Whether more bytes will arrive."""
        now = time.monotonic()
        self.first = self.first or now
        self.parts.append(data)
        self.delays += [now - int(sent) / 1e9 for sent in _SENT.findall(data)]
        self._tail = (self._tail + data)[-len(_END) :]
        return self._tail != _END and self.parts[0].startswith(b"HTTP/1.1 200")

    @property
    def events(self) -> int:
        """The number of events so far."""
        return b"".join(self.parts).count(b"data: ")

    def verdict(self, expected: bytes) -> str:
        head, _, body = b"".join(self.parts).partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            return head[:40].decode("latin-1") or "nothing"
        said = unchunked(body) if b"chunked" in head.lower() else body
        if said is None:
            return "cut"
        said = _SENT.sub(b'"sent": "%b"' % SENT, said)
        same = said == expected or _COST.sub(b"", said).replace(b" ", b"") == expected.replace(b" ", b"")
        return "ok" if same else "different"


def run(
    url: str,
    streams: int,
    tokens: int,
    rate: int,
    key: str = "dev-key",
    spread: float = 0.0,
    limit: float = TIMEOUT,
) -> dict:
    """Open all streams, at once or spread over some seconds, and read them to their end."""
    parts = urlsplit(url)
    address = (parts.hostname, parts.port)
    asked = request(parts.netloc, parts.path, f"{tokens}-{rate}", key)
    epoll, live = select.epoll(), {}
    began, opened = time.monotonic(), 0

    def open_more() -> int:
        due = streams if not spread else int(min(1.0, (time.monotonic() - began) / spread) * streams)
        for _ in range(opened, due):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(address)
            live[sock.fileno()] = Stream(sock)
            epoll.register(sock.fileno(), select.EPOLLOUT)
        return due

    done: list[Stream] = []
    most = 0
    while (live or opened < streams) and time.monotonic() < began + limit:
        opened = open_more()
        most = max(most, len(live))
        for fd, events in epoll.poll(0.01 if opened < streams else 1.0):
            one = live[fd]
            if events & select.EPOLLOUT:
                epoll.modify(fd, select.EPOLLIN)
                one.asked = time.monotonic()
                one.sock.send(asked)
                continue
            try:
                data = one.sock.recv(1 << 18)
            except OSError:
                data = b""
            if data and one.take(data):
                continue
            epoll.unregister(fd)
            one.sock.close()
            done.append(live.pop(fd))
    found = summary(done, list(live.values()), b"".join(stream(tokens)), time.monotonic() - began)
    return {**found, "at_once": most}


def summary(done: list[Stream], left: list[Stream], expected: bytes, seconds: float) -> dict:
    verdicts: dict[str, int] = {"unfinished": len(left)} if left else {}
    for one in done:
        said = one.verdict(expected)
        verdicts[said] = verdicts.get(said, 0) + 1
    delays = sorted(delay for one in done for delay in one.delays)
    firsts = sorted(one.first - one.asked for one in done if one.first)
    return {
        "streams": len(done) + len(left),
        "verdicts": verdicts,
        "seconds": round(seconds, 2),
        "events": sum(one.events for one in [*done, *left]),
        "first_byte_p50": percentile(firsts, 0.5),
        "first_byte_p99": percentile(firsts, 0.99),
        "delay_p50": percentile(delays, 0.5),
        "delay_p99": percentile(delays, 0.99),
    }


def percentile(values: list[float], share: float) -> float | None:
    return round(values[min(len(values) - 1, int(len(values) * share))], 4) if values else None


if __name__ == "__main__":
    target, *numbers = sys.argv[1:5]
    shape = [int(number) for number in numbers]
    print(json.dumps(run(target, *shape, *sys.argv[5:6], *map(float, sys.argv[6:8]))))
