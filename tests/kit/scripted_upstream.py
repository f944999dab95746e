"""Runs the scripted provider with the behaviours of the tests, good or faulty, in its own process.

``PYTHONPATH=tests:. python -m kit.scripted_upstream --port 0`` prints its port. The request's ``model`` names
the behaviour, as ``behaviour,option=value,…`` of ``behaviours.py``. An unknown name gets a proper answer.

``POST /_script {"answers": [behaviour, …]}`` sets the answers to the next requests, whatever their model;
``GET /_requests`` lists the requests; ``POST /_reset`` forgets both.
"""

from __future__ import annotations

import argparse
import json
import socket
import threading
import time
from typing import Any

from flask_gateway.cli.selftest.scripted_provider import Exchange, PeerLeft, Request, ScriptedServer
from kit.behaviours import BEHAVIOURS, Options, ok
from kit.hostile import HOSTILE


class State:
    """The received requests and the script. Shared by all connections, guarded by its lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.script: list[str] = []
        self.seen: set[str] = set()

    def record(self, request: Request, connection: int) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "method": request.method,
            "path": request.path,
            "headers": request.headers,
            "body": request.body.decode("utf-8", "replace"),
            "connection": connection,
            "at": time.monotonic(),
            "ended": None,
            "ended_at": None,
        }
        with self.lock:
            self.requests.append(entry)
        return entry

    def behaviour(self, request: Request) -> str:
        with self.lock:
            return self.script.pop(0) if self.script else str(request.json.get("model", "ok"))

    def first_time(self, what: str) -> bool:
        with self.lock:
            new = what not in self.seen
            self.seen.add(what)
        return new


class UpstreamExchange(Exchange):
    """A request, and the state that all requests share."""

    def __init__(self, sock: socket.socket, request: Request, state: State) -> None:
        super().__init__(sock, request)
        self.state = state


class Upstream(ScriptedServer):
    """Records each request, and performs the behaviour that it names."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        self.state = State()
        super().__init__(self._serve, port)

    def _serve(self, sock: socket.socket, request: Request, peer: int) -> bool:
        exchange = UpstreamExchange(sock, request, self.state)
        if request.path.startswith("/_"):
            control(exchange)
            return True
        entry = self.state.record(request, peer)
        try:
            perform(exchange, self.state.behaviour(request))
        except PeerLeft:
            entry.update(ended="peer left", ended_at=time.monotonic())
            return False
        entry.update(ended="complete" if exchange.keep_alive else "hung up", ended_at=time.monotonic())
        return exchange.keep_alive


def control(exchange: UpstreamExchange) -> None:
    """Serve the endpoints for tests."""
    state = exchange.state
    with state.lock:
        if exchange.request.path == "/_reset":
            state.reset()
        elif exchange.request.path == "/_script":
            state.script = list(exchange.request.json["answers"])
        body = json.dumps(state.requests).encode()
    exchange.answer(200, body)


def perform(exchange: UpstreamExchange, behaviour: str) -> None:
    """Perform the behaviour ``name,option=value,…``."""
    name, *settings = behaviour.split(",")
    options = Options(setting.split("=", 1) for setting in settings)
    (BEHAVIOURS | HOSTILE).get(name, ok)(exchange, options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    with Upstream(parser.parse_args().port) as server:
        print(server.port, flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
