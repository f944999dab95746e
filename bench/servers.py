"""Starts the servers of a benchmark on free ports, waits for them, and always stops them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).parents[1]
KEY = "bench-key-0123456789"
#: Header lines that a server needs of each request, by its URL.
MORE_HEADERS: dict[str, str] = {}
#: How long each server took from its start to its first answer, seconds, by its URL.
STARTED: dict[str, float] = {}


class Missing(Exception):
    """The machine lacks something that the benchmark needs."""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def tool(name: str) -> str:
    """:raises Missing: the program is not installed."""
    found = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if found is None:
        raise Missing(f"{name} is not installed (on Debian: apt install {name})")
    return found


@contextmanager
def running(
    command: list[str], port: int, env: dict[str, str] | None = None, folder: Path = ROOT
) -> Iterator[subprocess.Popen]:
    """A server, as soon as it answers on the port."""
    with tempfile.NamedTemporaryFile("w+", suffix=".log") as log:
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **(env or {})}, stdout=log, stderr=subprocess.STDOUT
        )
        began = time.monotonic()
        try:
            _wait_for(process, port, log.name)
            STARTED[f"http://127.0.0.1:{port}"] = time.monotonic() - began
            yield process
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(15)
            process.kill()
            process.wait()


def _wait_for(process: subprocess.Popen, port: int, log: str) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2) as sock:
            sock.sendall(b"GET /health HTTP/1.0\r\n\r\n")
            sock.settimeout(5)
            if sock.recv(1):
                return
        time.sleep(0.02)
    raise RuntimeError(f"{process.args} did not start:\n{Path(log).read_text()[-2000:]}")


@contextmanager
def stream_upstream() -> Iterator[str]:
    """The upstream for streams (``load/upstream.py``)."""
    port = free_port()
    with running([sys.executable, "-m", "bench.load.upstream", str(port)], port):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def nginx(port: int, locations: str, workers: int, more: str = "") -> Iterator[subprocess.Popen]:
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "nginx.conf"
        config.write_text(
            f"daemon off; worker_processes {workers}; pid {folder}/pid; error_log {folder}/error.log;\n"
            "events { worker_connections 8192; }\n"
            "http { access_log off; keepalive_requests 1000000; client_max_body_size 8m;\n"
            f"client_body_buffer_size 4m; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;\n"
            f"fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n"
            f"{more}\nserver {{ listen 127.0.0.1:{port} backlog=4096; {locations} }} }}\n"
        )
        with running([tool("nginx"), "-p", folder, "-c", str(config)], port) as process:
            yield process


@contextmanager
def json_upstream() -> Iterator[str]:
    """The upstream for buffered answers: nginx with a fixed answer."""
    from .load.upstream import BODY

    port, said = free_port(), BODY.decode().replace("'", "\\'")
    answer = f"default_type application/json; return 200 '{said}';"
    # nginx closes the connection unless it has read the body.
    location = f"location / {{ {answer} }}"
    with nginx(port, location, 1):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def nginx_proxy(upstream: str, port: int, workers: int = 2) -> Iterator[subprocess.Popen]:
    """nginx between callers and upstream: the minimal cost of a proxy."""
    pool = f"upstream there {{ server {upstream.removeprefix('http://')}; keepalive 512; }}"
    location = (
        "location / { proxy_pass http://there; proxy_http_version 1.1; proxy_buffering off; "
        'proxy_set_header Connection ""; proxy_request_buffering off; } location /health { return 200 "ok"; }'
    )
    with nginx(port, location, workers, pool) as process:
        yield process


@contextmanager
def passthrough(upstream: str, port: int, workers: int = 2) -> Iterator[subprocess.Popen]:
    """The ten lines of ``passthrough.py`` under gunicorn without our settings."""
    command = [sys.executable, "-m", "gunicorn", "-c", os.devnull, "-b", f"127.0.0.1:{port}"]
    command += [
        "-w",
        str(workers),
        "-k",
        "gthread",
        "--threads",
        "256",
        "--backlog",
        "4096",
        "bench.passthrough:app",
    ]
    with running(command, port, {"UPSTREAM": upstream}) as process:
        yield process


@contextmanager
def gateway(
    upstream: str, port: int, workers: int = 2, config: Path | None = None, root: Path = ROOT, **env: str
) -> Iterator[subprocess.Popen]:
    """The gateway with limits that no call reaches and its log in a file.

    :param config: a settings file with the key and the upstream. Without one both are environment variables.
    :param root: the checkout whose code serves.
    """
    command = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"]
    ours = {"GATEWAY_API_KEYS": KEY, "GATEWAY_UPSTREAMS": f"up={upstream}"}
    settings = {
        **(ours if config is None else {"GATEWAY_CONFIG": str(config)}),
        "GATEWAY_UPSTREAM_UP_API_KEY": "bench-upstream-key",
        "GATEWAY_RATE_LIMIT_PER_MINUTE": "10000000",
        "GATEWAY_REQUEST_TIMEOUT_SECONDS": "120",
        "GATEWAY_MAX_STREAMS": "4000",
        "GATEWAY_BIND": f"127.0.0.1:{port}",
        "GATEWAY_WORKERS": str(workers),
        **env,
    }
    with running(command, port, settings, root) as process:
        yield process
