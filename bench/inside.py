"""Where a request's CPU goes, layer by layer, in one thread and without a server: ``python -m bench.inside``.

Each figure is the best of seven rounds, microseconds of CPU a request: what the layer itself can do, when
nothing else is at the processor. The upstream is nginx (``servers.json_upstream``), over a kept connection.
"""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr

import requests

from . import run, servers


def best(work: Callable[[], object], times: int = 400, rounds: int = 7) -> float:
    work()
    found = []
    for _ in range(rounds):
        began = time.process_time()
        for _ in range(times):
            work()
        found.append((time.process_time() - began) / times)
    return min(found) * 1e6


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


def main() -> None:
    with servers.json_upstream() as upstream, open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
        os.environ |= {
            "GATEWAY_API_KEYS": servers.KEY,
            "GATEWAY_RATE_LIMIT_PER_MINUTE": "10000000",
            "GATEWAY_UPSTREAMS": f"up={upstream}",
        }
        from flask_gateway import create_app

        app, body, session = create_app(), run.chat_body(200), requests.Session()

        def all_of_it() -> None:
            said: list[str] = []
            answer = app(environ(body), lambda status, headers, error=None: said.append(status))
            b"".join(answer)
            getattr(answer, "close", list)()
            assert said[0].startswith("200"), said

        def session_post() -> None:
            url = f"{upstream}/v1/chat/completions"
            assert session.post(url, body, headers={"Content-Type": "application/json"}).content

        for name, work in (
            ("the application, upstream call and Flask included", all_of_it),
            ("requests.Session.post alone, for comparison", session_post),
        ):
            print(f"{best(work):7.0f} us  {name}")


if __name__ == "__main__":
    main()
