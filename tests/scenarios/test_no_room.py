"""Fills ``/dev/shm`` before the start or while serving, by blocks or by inodes: no call fails."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from kit.gateways import KEY, UNLIMITED
from kit.needs import lacking
from kit.servers import Gateway
from kit.waiting import until
from kit.wire import ask

pytestmark = pytest.mark.live

#: Both directories that may hold metrics.
FILL = "for d in /dev/shm /var/tmp; do dd if=/dev/zero of=$d/other bs=4k; done >/dev/null 2>&1; "
USE_UP_INODES = (
    "for d in /dev/shm /var/tmp; do n=0; while touch $d/$n; do n=$((n+1)); done; done 2>/dev/null; "
)


def small(options: str, fill: str = "") -> Sequence[str]:
    """A command that mounts small private directories for temporary files."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        lacking("no mount namespaces here")
    mount = "".join(f"mount -t tmpfs -o {options} tmpfs {at} || exit 9; " for at in ("/dev/shm", "/var/tmp"))
    return ["unshare", "-m", "sh", "-c", mount + fill + 'TMPDIR=/var/tmp exec "$@"', "sh"]


@contextmanager
def confined(folder: Path, wrap: Sequence[str], workers: int = 1) -> Iterator[Gateway]:
    env = {"GATEWAY_API_KEYS": KEY, "GATEWAY_RATE_LIMIT_PER_MINUTE": UNLIMITED}
    env["GATEWAY_WORKERS"] = str(workers)
    gateway = Gateway(folder, KEY, env, wrap=wrap)
    try:
        yield gateway
    finally:
        gateway.stop()


def answers(gateway: Gateway, count: int = 40) -> Counter[int]:
    """The statuses of a number of calls, eight at a time. 0 means no response."""

    def call(_: int) -> int:
        with suppress(OSError):
            return gateway.chat("mock").status
        return 0

    with ThreadPoolExecutor(8) as pool:
        return Counter(pool.map(call, range(count)))


def scrape(gateway: Gateway) -> str:
    return ask(gateway.port, "GET", "/metrics").body.decode()


@pytest.mark.parametrize(
    ("options", "fill"),
    [
        pytest.param("size=1m", FILL, id="no blocks"),
        pytest.param("size=1m,nr_inodes=20", USE_UP_INODES, id="no inodes", marks=pytest.mark.long),
    ],
)
def test_calls_succeed_with_a_full_dev_shm_before_the_start(tmp_path: Path, options: str, fill: str) -> None:
    with confined(tmp_path, small(options, fill)) as gateway:
        workers = gateway.workers
        assert answers(gateway) == {200: 40}
        assert gateway.workers == workers
        assert "gateway_metrics_degraded 1.0" in scrape(gateway)
        page = gateway.ask("GET", "/v1/circuit-breakers").json
        assert page["state"] == {"store": "shared", "degraded": False}
        assert page["metrics"]["degraded"] is True
        assert "no metric files in /dev/shm" in gateway.stderr


def test_metrics_are_shared_where_there_is_room(tmp_path: Path) -> None:
    fill = FILL.replace("/dev/shm /var/tmp", "/dev/shm")
    with confined(tmp_path, small("size=2m", fill)) as gateway:
        assert answers(gateway) == {200: 40}
        text = scrape(gateway)
        assert "gateway_metrics_degraded 0.0" in text
        assert "no metric files in /dev/shm" in gateway.stderr


def test_calls_succeed_while_dev_shm_fills_up_and_empties(tmp_path: Path) -> None:
    with confined(tmp_path, small("size=2m"), workers=2) as gateway:
        workers = gateway.workers
        assert answers(gateway) == {200: 40}
        other = Path(f"/proc/{workers[1]}/root/dev/shm/other")
        with suppress(OSError), other.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        assert answers(gateway) == {200: 40}
        os.kill(workers[0], signal.SIGKILL)  # its successor finds no space for its gauges
        assert until(lambda: len(gateway.workers) == 2 and workers[0] not in gateway.workers)
        assert answers(gateway) == {200: 40}
        assert workers[1] in gateway.workers
        other.unlink()
        assert until(lambda: all("gateway_metrics_degraded 0.0" in scrape(gateway) for _ in range(8)))
        assert (
            '_total{code="",model="mock",route="/v1/chat/completions",status="200",upstream="mock"} 120.0'
            in (scrape(gateway))
        )
