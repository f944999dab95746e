"""Checks the ledger on the running server: a full or read-only disk, a locked database, a wrong clock."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from hashlib import sha256
from pathlib import Path

import pytest
from kit.gateways import StartGateway
from kit.scrape import figures
from kit.servers import Gateway
from kit.shifted_clock import ShiftedClock
from kit.waiting import until
from kit.wire import Answer

pytestmark = pytest.mark.live

SETTINGS = """
rate_limit_per_minute = 0

[ledger]
data = "{data}"

[upstreams.mock]
url = "mock://local"

[models.cent]
upstream = "mock"
model = "cent"
price = {{ input = "0", output = "0", per_request = "0.01" }}

[keys.plain]
sha256 = "{plain}"
budgets = [{{ amount = "1000", window = "day" }}]

[keys.strict]
sha256 = "{strict}"
budgets = [{{ amount = "1000", window = "day", strict = true }}]
"""
YEAR = 365 * 86400


def secret(name: str) -> str:
    return f"{name}-key-for-small-disks"


class Disk:
    """A file system of 3 MiB with the ledger of a gateway, and what calls cost as their callers know it."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.data.mkdir()
        self.clock = ShiftedClock(folder)
        digests = {name: sha256(secret(name).encode()).hexdigest() for name in ("plain", "strict")}
        (folder / "gateway.toml").write_text(SETTINGS.format(data=self.data, **digests))
        self.environment = {"GATEWAY_CONFIG": str(folder / "gateway.toml"), **self.clock.environment}
        self.answered: set[str] = set()

    def mount(self, options: str) -> bool:
        command = ["mount", "-t", "tmpfs", "-o", f"mode=0700,{options}", "tmpfs", str(self.data)]
        return subprocess.run(command, capture_output=True).returncode == 0

    def make_writable(self) -> None:
        subprocess.run(["mount", "-o", "remount,rw", str(self.data)], check=True)

    def rows(self) -> dict[str, int]:
        try:
            with closing(sqlite3.connect(f"file:{self.data}/ledger.db?mode=ro", uri=True)) as ledger:
                return dict(ledger.execute("SELECT id, cost FROM charge"))
        except sqlite3.Error:
            return {}

    def all_kept(self) -> bool:
        """Whether each answered call has a row, and no other has one."""
        rows = self.rows()
        return rows.keys() == self.answered and set(rows.values()) <= {10_000_000}


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    made = Disk(tmp_path_factory.mktemp("small-disk"))
    if os.geteuid() != 0 or not made.mount("size=3m,ro"):
        pytest.skip("only root may mount")
    yield made
    subprocess.run(["umount", "-l", str(made.data)], check=True)


@pytest.fixture(scope="module")
def gateway(start_gateway: StartGateway, disk: Disk) -> Iterator[Gateway]:
    """A gateway that started while its disk was read-only. The tests follow one another."""
    started = start_gateway(key=secret("plain"), GATEWAY_WORKERS="1", **disk.environment)
    yield started
    started.stop()


def calls(gateway: Gateway, disk: Disk, count: int = 30) -> None:
    """Make calls that all succeed, whatever the ledger does."""
    answers = [gateway.chat("cent") for _ in range(count)]
    assert Counter(answer.status for answer in answers) == {200: count}
    disk.answered |= {answer.headers["x-request-id"] for answer in answers}


def strict(gateway: Gateway, disk: Disk) -> Answer:
    answer = gateway.chat("cent", headers={"x_api_key": secret("strict")})
    if answer.status == 200:
        disk.answered.add(answer.headers["x-request-id"])
    return answer


def is_degraded(gateway: Gateway) -> bool:
    return bool(figures(gateway, "ledger_degraded")[""])


def test_a_read_only_disk_at_the_start_stops_no_call(gateway: Gateway, disk: Disk) -> None:
    calls(gateway, disk)
    assert until(lambda: is_degraded(gateway))
    refused = strict(gateway, disk)
    assert (refused.status, refused.headers["retry-after"]) == (503, "5")
    assert refused.error["code"] in ("budget_unknown", "ledger_unavailable")
    assert "cannot be kept now" in gateway.stderr
    disk.make_writable()
    assert until(disk.all_kept)
    assert until(lambda: strict(gateway, disk).status == 200)
    assert until(lambda: not is_degraded(gateway))


def test_a_full_disk_stops_no_call(gateway: Gateway, disk: Disk) -> None:
    disk.make_writable()
    calls(gateway, disk)
    filler = disk.data / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    calls(gateway, disk, 60)  # the journals' last pages have some room
    assert until(lambda: is_degraded(gateway))
    assert "cannot be written" in gateway.stderr
    filler.unlink()
    assert until(disk.all_kept)
    assert until(lambda: not is_degraded(gateway))
    assert figures(gateway, "ledger_lines_lost_total")[""] == 0


@pytest.mark.soak
def test_a_database_that_somebody_locks_stops_no_call(gateway: Gateway, disk: Disk) -> None:
    disk.make_writable()
    calls(gateway, disk)
    assert until(disk.all_kept)
    assert until(lambda: strict(gateway, disk).status == 200)
    with closing(sqlite3.connect(disk.data / "ledger.db", isolation_level=None, timeout=10)) as other:
        other.execute("BEGIN IMMEDIATE")
        calls(gateway, disk)
        assert until(lambda: is_degraded(gateway))
        assert strict(gateway, disk).status == 200  # its account is open, and the journal takes the call
        other.execute("ROLLBACK")
    assert until(disk.all_kept)
    assert until(lambda: not is_degraded(gateway))


def test_a_clock_a_year_ahead_and_back_stops_no_call(gateway: Gateway, disk: Disk) -> None:
    """Cases 16 and 17 of the design."""
    disk.make_writable()

    def left() -> str:
        answer = gateway.chat("cent")
        assert answer.status == 200
        disk.answered.add(answer.headers["x-request-id"])
        return answer.headers["x-gateway-budget-remaining"]

    calls(gateway, disk)
    assert until(disk.all_kept)
    time.sleep(2.0)  # the allotment of a busy worker is given back, and the worker is not busy any more
    before = float(left())
    disk.clock.set(YEAR)
    assert float(left()) == pytest.approx(999.99)  # another day
    calls(gateway, disk, 10)
    assert until(disk.all_kept)  # the next call opens the account from the ledger
    disk.clock.set(0)
    assert float(left()) == pytest.approx(before - 0.01)  # the right day, and not what was used in the other
    disk.clock.set(-YEAR)
    calls(gateway, disk, 10)
    assert strict(gateway, disk).status == 200
    assert until(disk.all_kept)
    disk.clock.set(0)
    assert float(left()) == pytest.approx(before - 0.02)
    assert until(disk.all_kept)
    assert figures(gateway, "ledger_lines_lost_total")[""] == 0
