"""Starts the gateway without ``gunicorn.conf.py``: the promises hold, or a warning says which do not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
from kit.planted import LIVE_KEY as KEY
from kit.servers import ROOT, free_port
from kit.waiting import until
from kit.wire import ask

from flask_gateway import create_app

pytestmark = pytest.mark.live

FACTORY = "flask_gateway:create_app()"
LIMIT = 20
SPLIT = "each process of this server counts for itself"


class Other:
    """gunicorn in a folder without ``gunicorn.conf.py``."""

    def __init__(self, folder: Path, *options: str, **env: str) -> None:
        self.port, self._errors = free_port(), folder / "errors"
        command = [sys.executable, "-m", "gunicorn", "-b", f"127.0.0.1:{self.port}", *options]
        given = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "GATEWAY_API_KEYS": KEY,
            "GATEWAY_UPSTREAMS": "mock=mock://local",
            "GATEWAY_RATE_LIMIT_PER_MINUTE": str(LIMIT),
            **env,
        }
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(command, cwd=folder, env=given, stderr=errors, stdout=errors)

    @property
    def stderr(self) -> str:
        return self._errors.read_text()

    def answers(self) -> bool:
        try:
            return ask(self.port, "GET", "/health", None, {}).status == 200
        except OSError:
            return False

    def get(self, path: str):
        return ask(self.port, "GET", path, None, {"authorization": f"Bearer {KEY}"})

    def chat(self) -> int:
        body = {"model": "mock/x", "messages": [{"role": "user", "content": "Hello"}]}
        headers = {"authorization": f"Bearer {KEY}"}
        return ask(self.port, "POST", "/v1/chat/completions", body, headers).status


@contextmanager
def started(folder: Path, *options: str, **env: str) -> Iterator[Other]:
    server = Other(folder, *options, **env)
    try:
        assert until(server.answers), server.stderr
        yield server
    finally:
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(20)
    assert "Traceback" not in server.stderr


GATEWAY_WORKER = "flask_gateway.server.gunicorn_worker.GatewayWorker"


@pytest.mark.parametrize(
    ("worker", "state"),
    [
        ("gthread", "shared://"),
        pytest.param(GATEWAY_WORKER, "memory://", marks=pytest.mark.long),
        pytest.param("gthread", "memory://", marks=pytest.mark.soak),
        pytest.param(GATEWAY_WORKER, "shared://", marks=pytest.mark.soak),
    ],
)
def test_processes_that_share_no_state_log_a_warning(tmp_path: Path, worker: str, state: str) -> None:
    options = ("-w", "2", "-k", worker, "--threads", "4", FACTORY)
    with started(tmp_path, *options, GATEWAY_STATE=state) as server:
        state = server.get("/v1/circuit-breakers").json["state"]
        assert state["degraded"]
        assert SPLIT in state["reason"]
        assert f"warning: limits and breakers are not shared: {SPLIT}" in server.stderr
        metrics = ask(server.port, "GET", "/metrics", None, {}).body.decode()
        assert "gateway_store_degraded 1" in metrics
        doctor = [
            sys.executable,
            "-m",
            "flask_gateway",
            "doctor",
            f"http://127.0.0.1:{server.port}",
            "--key",
            KEY,
        ]
        found = subprocess.run(doctor, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        (line,) = [line for line in found.stdout.splitlines() if "limits and breakers" in line]
        assert line.startswith("fail")
        assert SPLIT in line


@pytest.mark.parametrize("worker", [pytest.param("gthread", marks=pytest.mark.long), GATEWAY_WORKER])
def test_with_preload_limits_are_exact_and_ids_are_unique(tmp_path: Path, worker: str) -> None:
    options = ("-w", "2", "--preload", "-k", worker, "--threads", "4", FACTORY)
    with started(tmp_path, *options) as server:
        assert not server.get("/v1/circuit-breakers").json["state"]["degraded"]
        with ThreadPoolExecutor(8) as pool:
            said = Counter(pool.map(lambda _: server.chat(), range(60)))
            ids = [one.headers["x-request-id"] for one in pool.map(server.get, ["/v1/models"] * 60)]
        assert said == {200: LIMIT, 429: 60 - LIMIT}
        assert len(set(ids)) == 60
        assert SPLIT not in server.stderr


@pytest.mark.long
def test_with_preload_leases_are_exact(tmp_path: Path) -> None:
    options = ("-w", "2", "--preload", "--threads", "8", FACTORY)
    env = {
        "GATEWAY_MAX_CONCURRENT_PER_KEY": "3",
        "GATEWAY_RATE_LIMIT_PER_MINUTE": "0",
        "GATEWAY_UPSTREAMS": "mock=mock://local?latency_ms=1000",
    }
    with started(tmp_path, *options, **env) as server, ThreadPoolExecutor(8) as pool:
        for _ in range(2):  # no lease is lost
            assert Counter(pool.map(lambda _: server.chat(), range(8))) == {200: 3, 429: 5}


def test_one_process_shares_all_state(tmp_path: Path) -> None:
    with started(tmp_path, FACTORY) as server:
        assert server.get("/v1/circuit-breakers").json["state"] == {"store": "shared", "degraded": False}
        assert SPLIT not in server.stderr


@pytest.mark.parametrize("options", [(), ("--preload",)])
def test_a_wrong_setting_prints_one_line(tmp_path: Path, options: tuple[str, ...]) -> None:
    server = Other(tmp_path, *options, FACTORY, GATEWAY_RATE_LIMIT_PER_MINUTE="sixty")
    assert server.process.wait(20) == 3
    assert server.stderr.count("GATEWAY_RATE_LIMIT_PER_MINUTE='sixty'") == 1
    assert "Traceback" not in server.stderr


class Silent(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_a_server_that_forks_after_loading_the_application(monkeypatch: pytest.MonkeyPatch) -> None:
    """uWSGI does so, and does not run Python's fork hooks."""
    monkeypatch.setenv("GATEWAY_API_KEYS", KEY)
    monkeypatch.setenv("GATEWAY_UPSTREAMS", "mock=mock://local")
    app = create_app()
    server: WSGIServer = make_server("127.0.0.1", 0, app, handler_class=Silent)
    made = app.extensions["gateway"]
    server.timeout = 20
    child = os.fork()
    if not child:
        server.handle_request()
        os._exit(0 if app.extensions["gateway"] is not made else 1)
    answer = ask(server.server_port, "GET", "/health", None, {})
    assert os.waitpid(child, 0)[1] == 0
    assert answer.status == 200
    serving = threading.Thread(target=server.handle_request)
    serving.start()
    assert ask(server.server_port, "GET", "/health", None, {}).status == 200
    serving.join()
    assert app.extensions["gateway"] is made
    server.server_close()
