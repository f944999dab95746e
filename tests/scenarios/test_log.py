"""Checks the log of a running server whose log pipe is not read, or read late."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from kit.gateways import KEY, StartGateway
from kit.servers import ROOT, free_port
from kit.waiting import until
from kit.wire import PROMPT, ask

pytestmark = pytest.mark.live

F_SETPIPE_SZ = 1031
CALL = b'"path":"/v1/chat/completions"'
DROPPED = re.compile(rb"(\d+) lines of the log were dropped")


class Piped:
    """A gateway whose standard error is a pipe of 4 KiB. Only :meth:`read` reads it."""

    def __init__(self, **env: str) -> None:
        self.port = free_port()
        self.out, err = os.pipe()
        fcntl.fcntl(err, F_SETPIPE_SZ, 4096)
        os.set_blocking(self.out, False)
        given = {
            "PATH": os.environ["PATH"],
            "GATEWAY_BIND": f"127.0.0.1:{self.port}",
            "GATEWAY_WORKERS": "2",
            "GATEWAY_THREADS": "8",
            "GATEWAY_API_KEYS": KEY,
            "GATEWAY_UPSTREAMS": "mock=mock://local",
            "GATEWAY_RATE_LIMIT_PER_MINUTE": "0",
            "GATEWAY_LOG_PROMPTS": "on",
            **env,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"],
            cwd=ROOT,
            env=given,
            stderr=err,
        )
        os.close(err)
        assert until(self.answers)

    def answers(self) -> bool:
        try:
            return self.ask("GET", "/health").status == 200
        except OSError:
            return False

    def ask(self, method: str, path: str, body: object = None):
        return ask(self.port, method, path, body, {"authorization": f"Bearer {KEY}"})

    def chat(self) -> int:
        body = {"model": "mock/x", "messages": [{"role": "user", "content": PROMPT + "x" * 5000}]}
        return self.ask("POST", "/v1/chat/completions", body).status

    def read(self, seconds: float, until: bytes = b"never") -> bytes:
        got, deadline = b"", time.monotonic() + seconds
        while time.monotonic() < deadline and until not in got:
            try:
                got += os.read(self.out, 1 << 16)
            except BlockingIOError:
                time.sleep(0.005)
        return got

    def lost(self) -> int:
        found = re.search(rb"^gateway_log_lines_dropped_total ([\d.e+]+)$", self.metrics(), re.MULTILINE)
        assert found
        return int(float(found[1]))

    def metrics(self) -> bytes:
        return ask(self.port, "GET", "/metrics", None, {}).body


@contextmanager
def piped(**env: str) -> Iterator[Piped]:
    found = Piped(**env)
    try:
        yield found
    finally:
        found.process.kill()
        found.process.wait()
        os.close(found.out)


def test_a_blocked_log_delays_no_call_and_no_shutdown() -> None:
    with piped(GATEWAY_WORKERS="1") as gateway:
        for _ in range(200):
            assert gateway.chat() == 200
        assert gateway.answers()
        began = time.monotonic()
        gateway.process.terminate()
        assert gateway.process.wait(20) == 0
        assert time.monotonic() - began < 10


def test_lost_lines_are_counted_and_the_others_are_complete() -> None:
    with piped(GATEWAY_WORKERS="1") as gateway:
        for _ in range(1000):
            assert gateway.chat() == 200
        lost = gateway.lost()
        assert lost
        got = b""
        for _ in range(100):
            if sum(map(int, DROPPED.findall(got))) >= lost:
                break
            got += gateway.read(0.1)
        assert sum(map(int, DROPPED.findall(got))) == lost
        lines = [line for line in got.splitlines() if line.startswith(b"{")]
        calls = [line for line in map(json.loads, lines) if line["path"] == "/v1/chat/completions"]
        assert len(calls) + lost >= 1000
        assert all(len(line) <= 4000 for line in got.splitlines())


def test_gunicorns_log_file_gets_the_lines_after_a_rotation_too(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    options = ("--capture-output", "--error-logfile", str(log))
    gateway = start_gateway(options=options, GATEWAY_WORKERS="1")
    for name in ("first", "second"):
        answer = gateway.ask("GET", "/v1/models", x_request_id=name)
        assert answer.status == 200
        assert until(lambda name=name: f'"request_id":"{name}"' in log.read_text())
        log.rename(tmp_path / name)
        os.kill(gateway.pid, signal.SIGUSR1)
        assert until(log.exists)
        time.sleep(0.3)  # until the workers have reopened it, too


def test_lines_of_two_workers_do_not_mix() -> None:
    with piped() as gateway, ThreadPoolExecutor(9) as pool:
        reading = pool.submit(gateway.read, 20.0, b'"path":"/v1/models"')
        assert set(pool.map(lambda _: gateway.chat(), range(300))) == {200}
        time.sleep(0.2)
        gateway.ask("GET", "/v1/models")
        got, lost = reading.result(), gateway.lost()
        for _ in range(100):  # the reader may be slower than the workers: the lines dropped then are counted
            if got.count(CALL) + lost >= 300:
                break
            got += gateway.read(0.1)
        lines = got.splitlines()
    assert got.count(CALL) + lost >= 300
    assert got.count(CALL) > 100
    for line in lines:
        assert line.startswith((b"[", b"flask-gateway: ")) or json.loads(line)
