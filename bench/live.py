"""Measures calls and streams while live pages are open: ``python -m bench.live [--rounds N]``, 50 s a round.

Three states by turns in each round: a gateway without the page, one with it, and that one with 100 live pages
open. The CPU time is that of the whole process tree. The pages' own CPU, measured alone in the same round, is
printed by itself and taken from the last state: what is left is what they cost calls and streams.
"""

from __future__ import annotations

import argparse
import selectors
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from . import page, servers
from .load import cost
from .run import streams
from .wrk import chat, chat_body

PAGES = 100
TOPICS = ("overview", "upstreams", "requests")
#: How long each part of a round lasts, seconds.
ALONE, CHAT = 10.0, 4
#: Streams, events of each, events a second, and over how many seconds they begin.
STREAMS = (100, 250, 50, 1.0)
STATES = ("without the page", "with the page", f"with {PAGES} live pages")


class Work(NamedTuple):
    """The CPU of one call or event, microseconds. ``net``: without the pages' own."""

    cpu: float
    net: float


class Server(NamedTuple):
    """A gateway under test."""

    process: subprocess.Popen
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def open_pages(port: int, count: int) -> Iterator[None]:
    """Live pages of all three kinds, read by a thread of this process."""
    ended = threading.Event()
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        for number in range(count):
            sock = stack.enter_context(page.opened(port, f"live?topic={TOPICS[number % 3]}"))
            selector.register(sock, selectors.EVENT_READ)

        def read() -> None:
            while not ended.is_set():
                page.read(selector, 0.5)

        reader = threading.Thread(target=read)
        reader.start()
        time.sleep(2.0 if count else 0.0)
        try:
            yield
        finally:
            ended.set()
            reader.join()


def threads(process: subprocess.Popen) -> int:
    return sum(len(list(Path(f"/proc/{one}/task").iterdir())) for one in cost.tree(process.pid))


def alone(server: Server) -> tuple[float, int]:
    """The share of a core that 100 live pages take, and how many threads more there are."""
    before = threads(server.process)
    with open_pages(server.port, PAGES):
        used, began = cost.cpu(server.process.pid), time.monotonic()
        time.sleep(ALONE)
        share = (cost.cpu(server.process.pid) - used) / (time.monotonic() - began)
        return share, threads(server.process) - before


def beside(server: Server, pages: int, share: float) -> tuple[Work, Work]:
    """The CPU of a call, and of an event of a stream, while so many live pages are open.

    :param share: of a core, which these pages take by themselves.
    """
    with open_pages(server.port, pages):
        answers = _net(chat(server.process, server.url, 8, CHAT, chat_body(200)), CHAT, "per_second", share)
        began = time.monotonic()
        seen = streams(server.process, server.url, *STREAMS)
        seconds, events = time.monotonic() - began, STREAMS[0] * STREAMS[1]
        return answers, Work(seen["cpu_us"], seen["cpu_us"] - share * seconds / events * 1e6)


def _net(seen: dict[str, float], seconds: float, rate: str, share: float) -> Work:
    return Work(seen["cpu_us"], seen["cpu_us"] - share / seen[rate] * 1e6)


def run(rounds: int) -> None:
    with servers.stream_upstream() as upstream, ExitStack() as stack:
        up = []
        for on in (False, True):
            port = servers.free_port()
            up.append(Server(stack.enter_context(page.gateway(upstream, port, page=on)), port))
        for server in up:  # full rings, and as many threads in both: 100 connections at once start them
            chat(server.process, server.url, 8, CHAT, chat_body(200))
            with open_pages(server.port, PAGES):
                pass
        shares, more = [], []
        found: dict[str, list[tuple[Work, Work]]] = {name: [] for name in STATES}
        for number in range(rounds):
            share, threads_more = alone(up[1])
            shares.append(share)
            more.append(threads_more)
            states = [(STATES[0], up[0], 0), (STATES[1], up[1], 0), (STATES[2], up[1], PAGES)]
            for name, server, pages in states if number % 2 else states[::-1]:
                found[name].append(beside(server, pages, share if pages else 0.0))
            print(f"round {number + 1} of {rounds}: {100 * share:.1f} % of a core", flush=True)
    show(shares, more, found)


def show(shares: list[float], more: list[int], found: dict[str, list[tuple[Work, Work]]]) -> None:
    spread = f"{100 * min(shares):.1f} to {100 * max(shares):.1f}"
    print(f"{PAGES} live pages alone: {100 * statistics.median(shares):.1f} % of a core ({spread}),", end=" ")
    print(f"{statistics.median(more):.0f} threads more, which render")
    for what, place in (("a call", 0), ("an event of a stream", 1)):
        print(f"CPU of {what}, median of {len(shares)} rounds, and the median change within a round:")
        for name, seen in found.items():
            base = found[STATES[0 if name == STATES[1] else 1]]
            changes = [
                100 * (one[place].net / two[place].cpu - 1) for one, two in zip(seen, base, strict=True)
            ]
            print(f"  {name:22} {statistics.median(one[place].cpu for one in seen):6.1f} us", end="")
            if name != STATES[0]:
                print(
                    f"  {statistics.median(changes):+.1f} % ({min(changes):+.1f} to {max(changes):+.1f})",
                    end="",
                )
                print(f" than {STATES[0 if name == STATES[1] else 1]}", end="")
            print(", without the pages' own CPU" if name == STATES[2] else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    run(parser.parse_args().rounds)


if __name__ == "__main__":
    main()
