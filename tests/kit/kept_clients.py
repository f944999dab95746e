"""Sends request after request on kept connections, as client libraries do, and counts what is lost."""

from __future__ import annotations

import json
import random
import select
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from typing import NamedTuple

from kit.wire import TIMEOUT

POST, GET = ("POST", "/v1/chat/completions"), ("GET", "/v1/models")
BODY = json.dumps({"model": "mock", "messages": [{"role": "user", "content": "Hello"}]})


class Report(NamedTuple):
    """The results of the requests of many clients.

    :param statuses: how many answers had each status. :param lost: the errors of requests without an answer.
    :param connections: how many were opened. :param retried: requests that were sent again, all of them GETs.
    """

    statuses: Counter[int]
    lost: list[str]
    connections: int
    retried: int


class KeptClient:
    """One client with one connection at a time.

    Like urllib3 it looks whether the server has closed before it sends. It sends again what RFC 9110, 9.2.2
    permits: a GET whose reused connection broke without an answer.
    """

    def __init__(self, port: int, key: str, seed: int) -> None:
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        self._chance = random.Random(seed)
        self.statuses: Counter[int] = Counter()
        self.lost: list[str] = []
        self.connections = self.retried = 0

    def run(self, count: int, stop: threading.Event, pauses: float) -> None:
        """Send so many requests, with a pause now and then of up to so many seconds."""
        with closing(self._connection):
            for _ in range(count):
                if stop.is_set():
                    return
                self._ask(*(GET if self._chance.random() < 0.1 else POST))
                if pauses and self._chance.random() < 0.01:
                    time.sleep(self._chance.uniform(0, pauses))

    def _ask(self, method: str, path: str) -> None:
        reused = self._is_open()
        try:
            status = self._send(method, path)
        except (OSError, HTTPException) as error:
            self._connection.close()
            if not (reused and method == "GET"):
                self.lost.append(f"{method}: {error!r}")
                return
            self.retried += 1
            status = self._send(method, path)
        self.statuses[status] += 1

    def _is_open(self) -> bool:
        sock: socket.socket | None = self._connection.sock
        if sock is not None and not select.select([sock], [], [], 0)[0]:
            return True
        self._connection.close()
        self.connections += 1
        return False

    def _send(self, method: str, path: str) -> int:
        self._connection.request(method, path, BODY if method == "POST" else None, self._headers)
        response = self._connection.getresponse()
        response.read()
        return response.status


def run_clients(
    port: int, key: str, clients: int, count: int, stop: threading.Event, pauses: float = 0.0
) -> Report:
    """Send ``count`` requests from each of so many clients at once, or fewer if the event is set."""
    made = [KeptClient(port, key, seed) for seed in range(clients)]
    with ThreadPoolExecutor(clients) as pool:
        for done in [pool.submit(client.run, count, stop, pauses) for client in made]:
            done.result()
    return Report(
        statuses=sum((client.statuses for client in made), Counter()),
        lost=[error for client in made for error in client.lost],
        connections=sum(client.connections for client in made),
        retried=sum(client.retried for client in made),
    )
