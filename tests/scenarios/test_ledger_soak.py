"""Kills a worker with SIGKILL once a second while clients call: each whole answer has exactly one row.

``SOAK_ANSWERS=1000 pytest -m soak tests/scenarios/test_ledger_soak.py -s`` for a shorter run.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import threading
import time
from collections import Counter
from contextlib import closing, suppress
from decimal import Decimal
from hashlib import sha256
from http.client import HTTPException
from pathlib import Path

import pytest
from kit.gateways import KEY, StartGateway
from kit.servers import Gateway
from kit.waiting import until
from kit.wire import ask

pytestmark = [pytest.mark.live, pytest.mark.soak]

ANSWERS = int(os.environ.get("SOAK_ANSWERS", "10000"))
CLIENTS = 16
#: One dollar and two per million tokens. The mock is slow, so that calls are in flight at each kill.
SETTINGS = """
rate_limit_per_minute = 0
[ledger]
data = "data"
[keys.web]
sha256 = "%s"
[upstreams.up]
url = "mock://local?tokens=20&latency_ms=100"
[prices."up/m"]
input = "1"
output = "2"
"""
CALL = {"model": "m", "messages": [{"role": "user", "content": "hello there"}]}


class Clients:
    """Callers that note the id and the cost of each whole answer."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.costs: dict[str, Decimal] = {}
        self.threads = [threading.Thread(target=self._call) for _ in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def _call(self) -> None:
        head = {"Authorization": f"Bearer {KEY}"}
        while len(self.costs) < ANSWERS:
            with suppress(OSError, HTTPException, ValueError):
                answer = ask(self._gateway.port, "POST", "/v1/chat/completions", CALL, head)
                if answer.status == 200 and answer.json["usage"]:
                    named = answer.headers
                    self.costs[named["x-request-id"]] = Decimal(named["x-gateway-cost"])


def writes_a_journal(pid: int) -> bool:
    """Whether the worker has begun to serve calls."""
    folder = Path(f"/proc/{pid}/fd")
    with suppress(OSError):
        return any("/journal/" in str(entry.readlink()) for entry in folder.iterdir())
    return False


def test_each_whole_answer_has_exactly_one_row(start_gateway: StartGateway, tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text(SETTINGS % sha256(KEY.encode()).hexdigest())
    gateway = start_gateway(options=("--workers", "4"), GATEWAY_CONFIG=str(config))
    clients, kills = Clients(gateway), 0
    while any(thread.is_alive() for thread in clients.threads):
        time.sleep(1.0)
        if serving := [pid for pid in gateway.workers if writes_a_journal(pid)]:
            os.kill(random.choice(serving), signal.SIGKILL)
            kills += 1
    for thread in clients.threads:
        thread.join()
    with closing(sqlite3.connect(f"file:{tmp_path}/data/ledger.db?mode=ro", uri=True)) as books:
        until(lambda: books.execute("SELECT count(*) FROM in_flight").fetchone() == (0,))
        rows = books.execute("SELECT id, cost, source FROM charge").fetchall()
        sums = books.execute("SELECT sum(cost), sum(legs) FROM bucket").fetchone()
    counted = Counter(row[0] for row in rows)
    assert [answered for answered in clients.costs if counted[answered] != 1] == []
    assert max(counted.values()) == 1
    booked = {row[0]: row[1] for row in rows if row[2] == "reported"}
    assert all(Decimal(booked[one]) / 10**9 == cost for one, cost in clients.costs.items())
    assert sums == (sum(row[1] or 0 for row in rows), len(rows))
    lost = sum(row[2] == "lost" for row in rows)
    print(f"{len(clients.costs)} whole answers, {kills} kills, {lost} calls lost on their way")
