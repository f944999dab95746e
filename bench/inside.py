"""Where a request's CPU goes, layer by layer, in one thread and without a server: ``python -m bench.inside``.

Each figure is the best of seven rounds, microseconds of CPU a request: what the layer itself can do, when
nothing else is at the processor. The upstream is nginx (``servers.json_upstream``), over a kept connection.
"""

from __future__ import annotations

import io
import os
import statistics
import sys
import time
import zlib
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr
from typing import Any

import requests
from flask import Flask, Response

from flask_gateway import create_app
from flask_gateway.config import Clocks
from flask_gateway.core import Call, Caller, Ids, Operation
from flask_gateway.upstreams.exchange import Exchange
from flask_gateway.upstreams.http import Http
from flask_gateway.watcher import Watcher

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
    """The median when the processor's caches hold something else before each: as on a busy server."""
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
    """Flask, with a view that says as much as the upstream does."""
    app = Flask("empty")
    app.post("/v1/chat/completions")(lambda: Response(BODY, content_type="application/json"))
    return app


def upstream_call(upstream: str, body: bytes) -> Callable[[], object]:
    """What a call costs whoever makes it as the gateway does, clocks included."""
    http, clocks = Http(Watcher()), Clocks()
    url, headers = f"{upstream}/v1/chat/completions", {"Content-Type": "application/json"}
    ids, caller = Ids("request", "trace", "traceparent"), Caller("bench", 0)

    def call() -> bytes:
        asked = Call(ids, caller, Operation.CHAT, "bench", {}, stream=False, started=time.monotonic())
        source = http.post(url, body, headers, Exchange(asked, "up", clocks, lambda: True))
        said = source.read()
        source.release()
        return said

    return call


def main() -> None:
    with servers.json_upstream() as upstream, open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
        os.environ |= {
            "GATEWAY_API_KEYS": servers.KEY,
            "GATEWAY_RATE_LIMIT_PER_MINUTE": "10000000",
            "GATEWAY_UPSTREAMS": f"up={upstream}",
        }
        app, flask, body, session = create_app(), empty(), run.chat_body(200), requests.Session()

        def ask(app: Any) -> None:
            said: list[str] = []
            answer = app(environ(body), lambda status, headers, error=None: said.append(status))
            b"".join(answer)
            getattr(answer, "close", list)()
            assert said[0].startswith("200"), said

        def session_post() -> None:
            url = f"{upstream}/v1/chat/completions"
            assert session.post(url, body, headers={"Content-Type": "application/json"}).content

        whole = best(lambda: ask(app))
        rest = {
            "the upstream call in it": best(upstream_call(upstream, body)),
            "Flask in it: an application that does nothing": best(lambda: ask(flask)),
        }
        print(f"{whole:7.0f} us  the application, upstream call and Flask included")
        for name, value in rest.items():
            print(f"{value:7.0f} us    {name}")
        print(f"{whole - sum(rest.values()):7.0f} us    what is left: the gateway's own")
        print(f"{best(session_post):7.0f} us  requests.Session.post alone, for comparison")
        print(f"{cold(lambda: ask(app)):7.0f} us  the application, with caches swept before each request")
        print(f"{cold(session_post):7.0f} us  requests.Session.post, likewise")


if __name__ == "__main__":
    main()
