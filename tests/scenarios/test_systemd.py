"""Checks the shipped systemd units, and the sockets that systemd hands over."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kit.cpu_affinity import TWO, confined_to, cores_of
from kit.exchanges import open_sockets
from kit.gateways import KEY
from kit.needs import need
from kit.nginx import Nginx, replaced
from kit.servers import ROOT, Gateway, free_port
from kit.smoke_script import CHECKS, smoke
from kit.waiting import PATIENCE, until
from kit.wire import ask

from flask_gateway.config.load import load

pytestmark = pytest.mark.live

UNITS = ROOT / "flask_gateway" / "deploy" / "systemd"
INSTALLED = "/opt/flask-gateway"


@pytest.fixture(autouse=True)
def _systemd() -> None:
    need("systemd-analyze")


@pytest.fixture
def units(tmp_path: Path) -> list[str]:
    """The units as if the gateway were installed here."""
    paths = [tmp_path / path.name for path in sorted(UNITS.iterdir())]
    for path in paths:
        text = (
            (UNITS / path.name).read_text().replace(f"{INSTALLED}-litellm/bin/flask-gateway", sys.executable)
        )
        path.write_text(text.replace(INSTALLED, str(ROOT)))
    return [str(path) for path in paths]


def analyze(*arguments: str) -> str:
    """The output of systemd-analyze, which exits with 0 only without findings."""
    command = ["systemd-analyze", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def setting(unit: str, name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", (UNITS / unit).read_text(), re.MULTILINE)


def test_systemd_finds_nothing_wrong(units: list[str]):
    assert analyze("verify", "--man=no", *units) == ""


def test_systemd_finds_something_wrong(units: list[str]):
    """Otherwise a check that reads nothing would pass."""
    Path(units[0]).write_text(Path(units[0]).read_text() + "\n[Service]\nNonsense=yes\n")
    assert "Nonsense" in analyze("verify", "--man=no", *units)


@pytest.mark.parametrize("name", ["flask-gateway.service", "flask-gateway-litellm.service"])
def test_the_service_has_few_privileges(units: list[str], name: str):
    """The threshold is in tenths."""
    (unit,) = (path for path in units if Path(path).name == name)
    said = analyze("security", "--offline=yes", "--threshold=20", unit)
    assert f"Overall exposure level for {name}" in said


def test_stopping_waits_as_long_as_the_gateway_may_take():
    environment = dict(
        re.findall(
            r"^(\w+)=(.*)$", (ROOT / "flask_gateway" / "deploy" / "flask-gateway.env").read_text(), re.M
        )
    )
    (stop,) = setting("flask-gateway.service", "TimeoutStopSec")
    assert int(stop) == int(environment["GATEWAY_GRACEFUL_SECONDS"]) + 15


def test_the_example_settings_are_valid(tmp_path: Path):
    """With their files in a folder of this test."""
    (tmp_path / "first").write_text("a" * 64 + "\n")
    shipped = (ROOT / "flask_gateway" / "deploy" / "gateway.toml").read_text()
    secrets = "/run/credentials/flask-gateway.service/key_"
    (tmp_path / "gateway.toml").write_text(replaced(shipped, {secrets: f"{tmp_path}/"}))
    lines = (
        (ROOT / "flask_gateway" / "deploy" / "flask-gateway.env").read_text().replace("#GATEWAY_", "GATEWAY_")
    )
    environment = dict(re.findall(r"^(\w+)=(.*)$", lines, re.MULTILINE))
    assert environment["GATEWAY_CONFIG"] == "/etc/flask-gateway/gateway.toml"
    settings = load(environment | {"GATEWAY_CONFIG": str(tmp_path / "gateway.toml")})
    assert [key.id for key in settings.keys] == ["first"]
    assert settings.warnings == ()


def test_the_queue_is_as_long_as_without_systemd():
    (backlog,) = re.findall(
        r"^backlog = (\d+)$", (ROOT / "flask_gateway/server/gunicorn_settings.py").read_text(), re.MULTILINE
    )
    assert setting("flask-gateway.socket", "Backlog") == [backlog]


def test_a_crash_leaves_no_dump_with_keys_in_it():
    assert setting("flask-gateway.service", "LimitCORE") == ["0"]


def test_nginx_knows_the_socket():
    site = (ROOT / "flask_gateway" / "deploy" / "nginx" / "conf.d" / "flask-gateway.conf").read_text()
    assert f"server unix:{setting('flask-gateway.socket', 'ListenStream')[0]} " in site


# ---------------------------------------------------------------- sockets that are handed over


@contextmanager
def activated(folder: Path, *sockets: str, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """A listener that starts the server at the first connection and hands it the sockets, as systemd does."""
    command = ["systemd-socket-activate", *(f"--listen={one}" for one in sockets)]
    given = {"GATEWAY_API_KEYS": KEY, "GATEWAY_WORKERS": "1", "GATEWAY_THREADS": "8", **env}
    command += [f"--setenv={name}={value}" for name, value in given.items()]
    (start,) = setting("flask-gateway.service", "ExecStart")
    command += start.replace(f"{INSTALLED}/.venv/bin/python", sys.executable).split()
    with (folder / "errors").open("wb") as errors:
        process = subprocess.Popen(command, cwd=ROOT, stderr=errors)
    try:
        assert until(lambda: "Listening on" in (folder / "errors").read_text())
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE)


def test_the_gateway_serves_over_a_unix_socket_behind_nginx(tmp_path: Path):
    port, path = free_port(), tmp_path / "gateway.sock"
    with activated(tmp_path, str(path), f"127.0.0.1:{port}") as process:
        nginx = Nginx(tmp_path, f"unix:{path}")
        try:
            code, lines, _ = smoke(nginx.url, KEY, "mock")
            assert (code, len(lines)) == (0, len(CHECKS)), lines
            assert ask(port, "GET", "/health").status == 200
            # A reload reads gunicorn.conf.py again, when the environment no longer mentions the sockets.
            before = listening(process)
            process.send_signal(signal.SIGHUP)
            assert until(lambda: (tmp_path / "errors").read_text().count("Booting worker") == 2)
            assert ask(nginx.port, "GET", "/health").status == 200
            assert ask(port, "GET", "/health").status == 200
            assert listening(process) == before
        finally:
            nginx.stop()
    assert path.exists(), "the socket is systemd's, and outlives us"
    assert "Traceback" not in (tmp_path / "errors").read_text()


def listening(process: subprocess.Popen[bytes]) -> set[str]:
    """The sockets of the process, by their inodes."""
    return open_sockets(process.pid)


@pytest.mark.parametrize("open_to_all", [True, False])
def test_the_published_key_on_a_socket_that_is_handed_over(tmp_path: Path, open_to_all: bool):
    port = free_port()
    with activated(
        tmp_path, f"{'0.0.0.0' if open_to_all else '127.0.0.1'}:{port}", GATEWAY_API_KEYS="dev-key"
    ) as process:
        if open_to_all:
            socket.create_connection(("127.0.0.1", port)).close()
            assert process.wait(PATIENCE) == 78
            assert f"GATEWAY_BIND='0.0.0.0:{port}'" in (tmp_path / "errors").read_text()
        else:
            assert ask(port, "GET", "/v1/models", headers={"x-api-key": "dev-key"}).status == 200


# ---------------------------------------------------------------- the system calls it may make


def test_the_gateway_works_with_the_units_system_calls(tmp_path: Path):
    unit = UNITS / "flask-gateway.service"
    wrap = [sys.executable, str(Path(__file__).parents[1] / "kit/confined.py"), str(unit)]
    with confined_to(TWO):
        gateway = Gateway(tmp_path, KEY, {"GATEWAY_API_KEYS": KEY}, wrap)
    try:
        assert len(TWO) == 1 or cores_of(gateway) == [{core} for core in sorted(TWO)]
        code, lines, _ = smoke(gateway.url, KEY, "mock")
        assert (code, len(lines)) == (0, len(CHECKS)), lines
        assert gateway.ask("GET", "/v1/circuit-breakers").json["state"]["degraded"] is False
        gateway.reload()
        assert gateway.chat("mock").status == 200
        status = Path(f"/proc/{gateway.workers[0]}/status").read_text()
        assert re.search(r"^Seccomp:\s+2$", status, re.MULTILINE), "it ran without the filters"
    finally:
        gateway.stop()


@pytest.mark.parametrize(
    "refused", ["os.nice(1)", "os.chroot('/')", "os.setuid(0)", "mmap.mmap(-1, 4096, prot=7)"]
)
def test_the_tested_filters_are_those_of_the_unit(refused: str):
    unit = UNITS / "flask-gateway.service"
    command = [sys.executable, str(Path(__file__).parents[1] / "kit/confined.py"), str(unit)]
    command += [sys.executable, "-c", f"import mmap, os; os.memfd_create('x'); print('allowed'); {refused}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout == "allowed\n"
    assert "PermissionError" in done.stderr
