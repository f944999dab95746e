"""Measures the cost of the operator's page: ``python -m bench.run page``.

The rings are full of the calls of the benchmark itself. Both gateways have a ledger; one has the page.

``python -m bench.page --rounds 30`` measures chat alone, with the page and without it, 10 s a round.
A round is without, with, with, without: a change of the machine's speed is in both. Every five rounds new
gateways start: where a process lies in memory makes it some percent faster or slower for all its life.
"""

from __future__ import annotations

import argparse
import selectors
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from flask_gateway.config.admins import session_secret
from flask_gateway.web.page import session

from . import servers
from .keys import ADMIN_KEY, LEDGER, UPSTREAM
from .load import cost
from .wrk import Numbers, chat_body, wrk

PAGES = (
    *("overview", "overview?range=24h", "upstreams", "upstream?name=up", "models", "keys", "requests"),
    *(
        "requests?status=failed",
        "requests?model=none",
        "request?id=none",
        "spend",
        "try",
        "settings",
        "health",
    ),
)
#: How often each page is asked for, and how long open pages are watched, seconds.
TIMES, WATCHED = 40, 20.0
#: How long a turn of calls lasts, and how long the rings' thread may write after it, seconds.
TURN, WRITTEN = 2, 0.25
#: The rounds of a pair of gateways.
ROUNDS = 5


@contextmanager
def gateway(upstream: str, port: int, *, page: bool) -> Iterator[subprocess.Popen]:
    """A gateway with a ledger, with the page or without it."""
    with TemporaryDirectory(prefix="bench-page-") as folder:
        config = Path(folder) / "gateway.toml"
        digest = sha256(servers.KEY.encode()).hexdigest()
        key = f'\n[keys.bench]\nsha256 = "{digest}"\nrequests = 10_000_000\n'
        config.write_text(UPSTREAM.format(upstream=upstream) + LEDGER.format(data=f"{folder}/data") + key)
        named = {"GATEWAY_ADMIN_KEY": ADMIN_KEY} if page else {}
        with servers.gateway(upstream, port, 2, config, **named) as process:
            yield process


def _cookie() -> str:
    key = session.signing_key(session_secret(ADMIN_KEY) + sha256(ADMIN_KEY.encode()).digest())
    return session.written(session.begin("admin", time.time()), key)


def opened(port: int, path: str) -> socket.socket:
    """A connection on which the page has been asked for."""
    sock = socket.create_connection(("127.0.0.1", port), 30)
    head = (
        f"GET /ui/{path} HTTP/1.1\r\nHost: x\r\nCookie: gateway_page={_cookie()}\r\nConnection: close\r\n\r\n"
    )
    sock.sendall(head.encode())
    return sock


def page_cost(process: subprocess.Popen, port: int, path: str) -> Numbers:
    """The CPU of one page, all processes of the gateway together, and its bytes."""
    before, length = cost.cpu(process.pid), 0
    for _ in range(TIMES):
        with opened(port, path) as sock:
            answer = b"".join(iter(lambda sock=sock: sock.recv(65536), b""))
        length = len(answer)
        if not answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 404")):
            raise RuntimeError(f"not a page: {answer[:300]!r}")
    return {"cpu_ms": (cost.cpu(process.pid) - before) / TIMES * 1000, "bytes": length}


def live_cost(process: subprocess.Popen, port: int, pages: int) -> Numbers:
    """The CPU of open live pages of all three kinds, per cent of a core."""
    topics = ("overview", "upstreams", "requests")
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        for number in range(pages):
            sock = stack.enter_context(opened(port, f"live?topic={topics[number % 3]}"))
            selector.register(sock, selectors.EVENT_READ)
        read(selector, 3.0)  # all of them have begun
        before, received = cost.cpu(process.pid), read(selector, WATCHED)
        used = cost.cpu(process.pid) - before
    share, each = 100 * used / WATCHED, received / max(1, pages) / WATCHED / 1e3
    return {"core_percent": share, "kb_a_page": each}


def read(selector: selectors.BaseSelector, seconds: float) -> int:
    """Read what comes for so long. Returns the bytes."""
    received, until = 0, time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        for key, _ in selector.select(left):
            assert isinstance(key.fileobj, socket.socket)
            data = key.fileobj.recv(65536)
            received += len(data)
            if not data:  # it has ended
                selector.unregister(key.fileobj)
    return received


def turn(process: subprocess.Popen, port: int) -> float:
    """The CPU of a call, microseconds, of all processes and threads of the gateway."""
    before = cost.cpu(process.pid)
    seen = wrk(f"http://127.0.0.1:{port}", 8, TURN, chat_body(200))
    time.sleep(WRITTEN)
    return (cost.cpu(process.pid) - before) / seen["requests"] * 1e6


def chats(rounds: int) -> list[tuple[float, float]]:
    """The CPU of a call without the page and with it, microseconds, round by round."""
    found: list[tuple[float, float]] = []
    with servers.json_upstream() as upstream:
        while len(found) < rounds:
            with ExitStack() as stack:
                up = []
                for on in (False, True):
                    port = servers.free_port()
                    up.append((stack.enter_context(gateway(upstream, port, page=on)), port))
                    wrk(f"http://127.0.0.1:{port}", 8, TURN, chat_body(200))
                for _ in range(min(ROUNDS, rounds - len(found))):
                    off, on_once, again, last = (turn(*up[which]) for which in (0, 1, 1, 0))
                    found.append(((off + last) / 2, (on_once + again) / 2))
                    print(
                        f"round {len(found)} of {rounds}: {found[-1][0]:.1f} -> {found[-1][1]:.1f} us",
                        flush=True,
                    )
    return found


def shown(found: list[tuple[float, float]]) -> str:
    """The result of all rounds in a line."""
    without, with_page = (statistics.median(one[place] for one in found) for place in (0, 1))
    low, middle, high = statistics.quantiles([100 * (on / off - 1) for off, on in found], n=4)
    return (
        f"CPU of a call: {without:.1f} us without the page, {with_page:.1f} us with it; the difference "
        f"within a round, median of {len(found)}: {middle:+.2f} % (quartiles {low:+.2f} to {high:+.2f} %)"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    print(shown(chats(parser.parse_args().rounds)))
