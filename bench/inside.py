"""Measures the CPU time of a request by layer, in one thread without a server: ``python -m bench.inside``.

Each figure is the best of seven rounds, µs of CPU per request, on an idle machine. The upstream is nginx
(``servers.json_upstream``) over a keep-alive connection.

There are two columns: everything pinned to one CPU, and placed by the kernel. With one request at a time, a
separate CPU sleeps while it waits for the upstream. Waking it costs the process that wakes it, above all on a
virtual machine, and the next code on it runs two to four times slower for a while. The second column includes
these costs, although no layer causes them. A single CPU never sleeps, like that of a worker on a busy server.
"""

from __future__ import annotations

import io
import os
import statistics
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any

import requests
from flask import Flask, Response

from flask_gateway import create_app
from flask_gateway.config.schema import Timeouts
from flask_gateway.model.call import Call, Caller, Ids, Operation
from flask_gateway.reactor import Reactor
from flask_gateway.upstreams.transport.client import UpstreamClient
from flask_gateway.upstreams.transport.deadlines import UpstreamAttempt

from . import run, servers
from .load.upstream import BODY


def best(work: Callable[[], object], times: int = 400, rounds: int = 7) -> float:
    work()
    found = []
    for _ in range(rounds):
        began = time.process_time()
        for _ in range(times):
            work()
        found.append((time.process_time() - began) / times)
    return min(found) * 1e6


def cold(work: Callable[[], object], times: int = 300) -> float:
    """The median with cold CPU caches before each call, as on a busy server."""
    other, found = bytearray(64 << 20), []
    for _ in range(times):
        zlib.crc32(other)
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return statistics.median(found) * 1e6


def environ(body: bytes) -> dict[str, object]:
    return {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/v1/chat/completions",
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "127.0.0.1",
        "HTTP_AUTHORIZATION": f"Bearer {servers.KEY}",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }


def empty() -> Callable[[dict[str, object], object], Iterable[bytes]]:
    """Flask, with a view whose answer is as long as the upstream's."""
    app = Flask("empty")
    app.post("/v1/chat/completions")(lambda: Response(BODY, content_type="application/json"))
    return app


def upstream_call(upstream: str, body: bytes) -> Callable[[], object]:
    """A call with the gateway's own client, timeouts included."""
    http, clocks = UpstreamClient(Reactor()), Timeouts()
    url, headers = f"{upstream}/v1/chat/completions", {"Content-Type": "application/json"}
    ids, caller = Ids("request", "trace", "traceparent"), Caller("bench", 0)

    def call() -> bytes:
        asked = Call(ids, caller, Operation.CHAT, "bench", {}, stream=False, started=time.monotonic())
        source = http.post(url, body, headers, UpstreamAttempt(asked, "up", clocks, lambda: True))
        said = source.read()
        source.release()
        return said

    return call


@contextmanager
def one_processor() -> Iterator[None]:
    """Pin this process, and the processes that it starts, to one CPU."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Bench:
    """The layers, ready to be measured."""

    def __init__(self, upstream: str) -> None:
        self._body = run.chat_body(200)
        self._app, self._flask, self._session = create_app(), empty(), requests.Session()
        self._url = f"{upstream}/v1/chat/completions"
        self._upstream_call = upstream_call(upstream, self._body)

    def layers(self) -> dict[str, float]:
        whole, upstream, flask = best(self._ask), best(self._upstream_call), best(self._ask_flask)
        return {
            "the application, upstream call and Flask included": whole,
            "  the upstream call in it": upstream,
            "  Flask in it: an application that does nothing": flask,
            "  what is left: the gateway's own": whole - upstream - flask,
            "requests.Session.post alone, for comparison": best(self._post),
        }

    def swept(self) -> dict[str, float]:
        return {
            "the application, with caches swept before each request": cold(self._ask),
            "requests.Session.post, likewise": cold(self._post),
        }

    def _ask(self, app: Any = None) -> None:
        said: list[str] = []
        answer = (app or self._app)(
            environ(self._body), lambda status, headers, error=None: said.append(status)
        )
        b"".join(answer)
        getattr(answer, "close", list)()
        assert said[0].startswith("200"), said

    def _ask_flask(self) -> None:
        self._ask(self._flask)

    def _post(self) -> None:
        headers = {"Content-Type": "application/json"}
        assert self._session.post(self._url, self._body, headers=headers).content


def measured() -> dict[str, float]:
    with servers.json_upstream() as upstream, open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
        os.environ |= {
            "GATEWAY_API_KEYS": servers.KEY,
            "GATEWAY_RATE_LIMIT_PER_MINUTE": "10000000",
            "GATEWAY_UPSTREAMS": f"up={upstream}",
        }
        bench = Bench(upstream)
        return bench.layers() | bench.swept()


def main() -> None:
    with one_processor():
        together = measured()
    apart = measured()
    print("microseconds of CPU: on one processor, and on all")
    for name, value in together.items():
        print(f"{value:7.0f} {apart[name]:7.0f}   {name}")


if __name__ == "__main__":
    main()
