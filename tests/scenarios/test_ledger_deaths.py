"""Kills the bookkeeper 200 times while it reads, and reloads new code under load: each line counts once.

``pytest -m soak tests/scenarios/test_ledger_deaths.py -s``
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import sqlite3
import threading
import time
from collections import Counter
from contextlib import closing, suppress
from hashlib import sha256
from http.client import HTTPException
from pathlib import Path

import pytest
from kit.ledger_lines import CALENDAR, NOW, opened, settled
from kit.servers import ROOT, Gateway
from kit.waiting import until

from flask_gateway.ledger import bookkeeper as module
from flask_gateway.ledger import database
from flask_gateway.ledger.bookkeeper import Bookkeeper, Progress
from flask_gateway.ledger.journal import Journal
from flask_gateway.ledger.lines import encode

pytestmark = pytest.mark.soak

DEATHS, CALLS = 200, 60_000
CLIENTS, SECONDS = 16, 40
KEY = "key-of-reloads-with-new-code"
SETTINGS = """
rate_limit_per_minute = 0
[ledger]
data = "{data}"
[keys.busy]
sha256 = "{digest}"
budgets = [{{ amount = "1000", window = "total" }}]
[upstreams.up]
url = "mock://local?tokens=20&latency_ms=50"
[models.m]
upstream = "up"
price = {{ input = "0", output = "0", per_request = "0.001234567" }}
"""


def test_case_42_a_bookkeeper_that_is_killed_200_times(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    database.write(tmp_path / database.NAME).close()
    journal = Journal(tmp_path / "journal")
    for n in range(1, CALLS + 1):
        journal.write(opened(n))
        journal.write(settled(n))
    newest = max((tmp_path / "journal").iterdir())
    with newest.open("ab") as file:  # a byte that was flipped, then a line that is torn
        flipped = bytearray(encode(settled(CALLS + 1)))
        flipped[40] ^= 1
        file.write(bytes(flipped) + encode(settled(CALLS + 2))[:-15])
    deaths, places = 0, set[int]()
    for _ in range(DEATHS):
        child = os.fork()
        if child == 0:
            keep_books(tmp_path)
        time.sleep(random.uniform(0.001, 0.05))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        deaths += 1
        places.add(read_so_far(tmp_path))
    keep = Bookkeeper(tmp_path, CALENDAR, lambda: float(NOW))
    keep.turn()
    with newest.open("ab") as file:  # the rest of the torn line: now it is whole
        file.write(encode(settled(CALLS + 2))[-15:])
    assert keep.turn() == Progress(1, 0, 0)
    journal.close()
    assert keep.turn() == Progress()
    keep.close()
    cost = CALLS * (CALLS + 1) // 2 + CALLS + 2
    with closing(sqlite3.connect(tmp_path / database.NAME)) as ledger:
        assert ledger.execute("SELECT count(*), sum(cost) FROM charge").fetchone() == (CALLS + 1, cost)
        assert ledger.execute("SELECT sum(legs), sum(cost) FROM bucket").fetchone() == (CALLS + 1, cost)
        assert ledger.execute("SELECT count(DISTINCT id) FROM charge").fetchone() == (CALLS + 1,)
        assert ledger.execute("SELECT count(*) FROM in_flight").fetchone() == (0,)
        assert ledger.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert list((tmp_path / "journal").iterdir()) == []
    print(f"{deaths} kills at {len(places)} places; {CALLS + 1} rows, {cost} nano-dollars")
    assert len(places) > 20, "the kills came before or after the reading"


def keep_books(data: Path) -> None:
    """Read journals in small transactions until the process is killed."""
    module.LINES = 10
    keep = Bookkeeper(data, CALENDAR, lambda: float(NOW))
    while True:
        keep.turn()


def read_so_far(data: Path) -> int:
    with closing(sqlite3.connect(data / database.NAME)) as ledger:
        return int(ledger.execute("SELECT count(*) FROM charge").fetchone()[0])


@pytest.mark.live
def test_case_44_reloads_with_new_code_under_load(tmp_path: Path) -> None:
    code, data = copied(tmp_path / "code"), tmp_path / "data"
    config = tmp_path / "gateway.toml"
    config.write_text(SETTINGS.format(data=data, digest=sha256(KEY.encode()).hexdigest()))
    environment = {"GATEWAY_CONFIG": str(config), "GATEWAY_WORKERS": "4", "GATEWAY_GRACEFUL_SECONDS": "10"}
    gateway = Gateway(tmp_path, KEY, environment, wrap=["env", "-C", str(code.parent)])
    ended, answered, reloads = threading.Event(), Counter[int](), 0
    threads = [threading.Thread(target=call, args=(gateway, ended, answered)) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    until_then = time.monotonic() + SECONDS
    while time.monotonic() < until_then:
        time.sleep(3)
        reloads += 1
        change(code, reloads)
        gateway.reload()
    ended.set()
    for thread in threads:
        thread.join()
    known = None
    while (sums := charged(data)) != known:  # until the books are up to date
        known = sums
        time.sleep(4.0)  # on a busy machine the bookkeeper waits for a core
    left = int(gateway.chat("m").headers["x-gateway-budget-remaining"].replace(".", ""))
    assert until(lambda: charged(data)[0] == sums[0] + 1)
    rows, cost = charged(data)
    builds = {
        line
        for file in (data / "journal").iterdir()
        for line in file.read_bytes().split(b",")
        if b"build" in line
    }
    gateway.stop()
    print(f"{reloads} reloads, {dict(answered)}; {rows} rows, {cost} nano-dollars; account: {10**12 - left}")
    assert builds == {b'"build":%d' % reloads}, "the new code is not in force"
    assert set(answered) == {200}
    assert rows == answered[200] + 1
    assert 10**12 - left == cost


def copied(folder: Path) -> Path:
    """Copy the gateway. Return its package."""
    for name in ("wsgi.py", "gunicorn.conf.py"):
        folder.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    ignored = shutil.ignore_patterns("__pycache__")
    return Path(shutil.copytree(ROOT / "flask_gateway", folder / "flask_gateway", ignore=ignored))


def change(code: Path, build: int) -> None:
    """Make newer code, whose lines have a field that the code before does not know."""
    lines, writer = code / "ledger" / "lines.py", code / "ledger" / "accounted.py"
    if build == 1:
        lines.write_text(
            lines.read_text().replace(
                "    status: int = 200\n", "    status: int = 200\n    build: int = 0\n"
            )
        )
        writer.write_text(
            writer.read_text().replace("status=status,", "status=status,\n            build=0,")
        )
    writer.write_text(re.sub(r"build=\d+", f"build={build}", writer.read_text()))


def call(gateway: Gateway, ended: threading.Event, answered: Counter[int]) -> None:
    """Call until the end. A connection that a worker closes as it drains is no answer."""
    while not ended.is_set():
        with suppress(OSError, HTTPException):
            answered[gateway.chat("m").status] += 1


def charged(data: Path) -> tuple[int, int]:
    """The rows and the nano-dollars of the ledger."""
    with closing(sqlite3.connect(data / database.NAME)) as ledger:
        rows, cost = ledger.execute("SELECT count(*), sum(cost) FROM charge WHERE key = 'busy'").fetchone()
        return rows, cost
