"""Keeps serving through failed forks, failed starts, reloads, and a machine that stood still."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from kit.gateways import KEY, StartGateway
from kit.servers import Gateway
from kit.waiting import until
from kit.wire import open_stream

pytestmark = pytest.mark.live

#: Python runs this file at its start. The marker files in its folder decide how a fork fails.
SITE = """
import os, time
_fork, _here = os.fork, os.path.dirname(__file__)
def _is_set(name):
    return os.path.exists(os.path.join(_here, name))
def fork():
    if _is_set("no-fork"):
        raise BlockingIOError(11, "Resource temporarily unavailable")
    pid = _fork()
    if not pid and _is_set("no-start"):
        os._exit(3)
    if not pid and _is_set("slow-start"):
        time.sleep(1)
    return pid
os.fork = fork
"""
CONF = """
import os
exec(compile(open("gunicorn.conf.py").read(), "gunicorn.conf.py", "exec"))
if os.path.exists(%r):
    raise ValueError("planted")
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "sitecustomize.py").write_text(SITE)
    return tmp_path


def answers(gateway: Gateway) -> bool:
    def answered() -> bool:
        try:
            return gateway.ask("GET", "/health").status == 200
        except OSError:  # a worker that has just begun, on a busy machine
            return False

    return bool(until(answered))


def told(gateway: Gateway, words: str, times: int = 1) -> bool:
    return bool(until(lambda: gateway.stderr.count(words) >= times))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("no-fork", "a worker could not be started"),
        pytest.param("no-start", "Worker failed to boot", marks=pytest.mark.long),
    ],
)
def test_living_workers_serve_while_forks_fail(
    start_gateway: StartGateway, site: Path, fault: str, words: str
) -> None:
    gateway = start_gateway(PYTHONPATH=str(site))
    (site / fault).touch()
    os.kill(gateway.workers[0], signal.SIGKILL)
    assert told(gateway, words, 2)  # the master tries again
    assert answers(gateway)
    gateway.hang_up()
    assert told(gateway, words, 3)
    assert answers(gateway)
    os.kill(gateway.workers[0], signal.SIGKILL)  # the last one
    (site / fault).unlink()
    assert until(lambda: len(gateway.workers) == 2, 30)
    assert answers(gateway)
    assert gateway.stderr.count("Trying again in") < 12


def test_a_failed_first_start_does_not_loop(start_gateway: StartGateway, site: Path) -> None:
    (site / "no-start").touch()
    with pytest.raises(pytest.fail.Exception, match="did not start"):
        start_gateway(PYTHONPATH=str(site))


def test_old_workers_serve_until_the_new_ones_are_ready(start_gateway: StartGateway, site: Path) -> None:
    gateway = start_gateway(PYTHONPATH=str(site))
    old = set(gateway.workers)
    (site / "slow-start").touch()
    slowest, most = 0.0, 0
    for number in range(3):
        gateway.hang_up()
        until(lambda number=number: gateway.stderr.count("Hang up: Master") > number)
    while old & set(gateway.workers) or len(gateway.workers) != 2:
        began = time.monotonic()
        assert answers(gateway)
        slowest, most = max(slowest, time.monotonic() - began), max(most, len(gateway.workers))
        time.sleep(0.02)
    assert slowest < 0.9  # a start takes 1 s
    assert most <= 6
    assert gateway.stderr.count("Booting worker") <= 6  # the first reload, and one for the others


def test_a_configuration_that_fails_to_load_changes_nothing(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    flag, conf = tmp_path / "broken", tmp_path / "conf.py"
    conf.write_text(CONF % str(flag))
    gateway = start_gateway(options=("-c", str(conf)), GATEWAY_WORKERS="1")
    old = set(gateway.workers)
    flag.touch()
    gateway.hang_up()
    assert told(gateway, "the old one stays in force")
    assert answers(gateway)
    assert set(gateway.workers) == old
    flag.unlink()
    gateway.reload()
    assert answers(gateway)
    gateway.faults += 1  # gunicorn prints the traceback


def test_a_worker_is_not_killed_for_a_machine_that_stood_still(start_gateway: StartGateway) -> None:
    gateway = start_gateway(
        options=("--timeout", "2"),
        GATEWAY_WORKERS="1",
        GATEWAY_UPSTREAMS="mock=mock://local?tokens=80&rate=40",
    )
    old = gateway.workers

    def read() -> list[str]:
        with open_stream(gateway.port, KEY, "mock/x") as stream:
            return [data for _, data in stream.events()]

    with ThreadPoolExecutor() as pool:
        stream = pool.submit(read)
        time.sleep(0.5)
        for pid in (*gateway.workers, gateway.pid):
            os.kill(pid, signal.SIGSTOP)
        time.sleep(3.5)
        for pid in (gateway.pid, *old):
            os.kill(pid, signal.SIGCONT)
        assert stream.result()[-1] == "[DONE]"
    assert told(gateway, "stood still")
    assert gateway.workers == old


def test_a_shutdown_does_not_wait_for_a_starting_worker(start_gateway: StartGateway, site: Path) -> None:
    gateway = start_gateway(PYTHONPATH=str(site), GATEWAY_WORKERS="1", GATEWAY_GRACEFUL_SECONDS="30")
    (site / "slow-start").touch()
    gateway.hang_up()
    assert until(lambda: len(gateway.workers) == 2)
    gateway.stop()  # within 20 s
