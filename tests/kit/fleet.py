"""Starts three gateways as on three machines: on ports of this one, or each in a network namespace.

In namespaces each machine has three wires: to its callers, to Redis and to PostgreSQL. Pulling one of them is
``ip link set … down``. Namespaces need root.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from hashlib import sha256
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from kit.admins import ADMIN_KEY
from kit.postgres import PostgresServer
from kit.servers import ROOT
from kit.stores import RedisServer, free_port
from kit.waiting import until

MACHINES = 3
METRICS_KEY = "planted-metrics-key-of-the-fleet"
#: The networks, by the wire: the first three numbers of their addresses.
NETWORKS = {"callers": "10.77.77", "redis": "10.77.78", "postgres": "10.77.79"}

SETTINGS = """
state_env = "STATE_URL"
machines = {machines}
rate_limit_per_minute = 0
circuit_breaker_max_failures = 4
circuit_breaker_reset_seconds = 60
request_timeout_seconds = 5
answer_timeout_seconds = 20

[ledger]
data = "{data}"
database_env = "LEDGER_URL"

[upstreams.mock]
url = "mock://local?tokens=20"

[upstreams.late]
url = "mock://local?tokens=20&latency_ms=1500"

[upstreams.other]
url = "mock://local?tokens=20&latency_ms=1500"

[upstreams.narrow]
url = "mock://local?tokens=20&latency_ms=1500"
max_in_flight = 2

[upstreams.broken]
url = "http://127.0.0.1:1"

[models.cent]
upstream = "mock"
model = "cent"
price = {{ input = "0", output = "0", per_request = "0.01" }}

[models.four]
upstream = "mock"
model = "four"
price = {{ input = "0", output = "0", per_request = "0.004" }}

[models.three]
upstream = "mock"
model = "three"
price = {{ input = "0", output = "0", per_request = "0.003" }}

[models.three_and_a_nano]
upstream = "mock"
model = "three_and_a_nano"
price = {{ input = "0", output = "0", per_request = "0.003000001" }}

[models.nano]
upstream = "mock"
model = "nano"
price = {{ input = "0", output = "0", per_request = "0.000000001" }}

[models.late]
upstream = "late"
model = "late"
price = {{ input = "0", output = "0", per_request = "0.01" }}

[models.either]
balance = "least_requests"
tiers = [["late/either", "other/either"]]

[models.narrow]
upstream = "narrow"
model = "narrow"
price = "free"

[models.broken]
upstream = "broken"
model = "broken"
price = "free"
"""
KEY = """
[keys.{name}]
sha256 = "{digest}"

{limits}
"""


def secret(name: str) -> str:
    return f"{name}-key-of-the-fleet"


class Machine:
    """A gateway of two workers, with a data directory of its own."""

    def __init__(
        self, folder: Path, number: int, urls: dict[str, str], keys: str, netns: str = "", of: int = MACHINES
    ) -> None:
        self.folder, self.number, self._urls, self._netns = folder, number, urls, netns
        folder.mkdir(parents=True)
        self.data = folder / "data"
        self.host, self.port = ("127.0.0.1", free_port())
        if netns:
            self.host = f"{NETWORKS['callers']}.{number + 2}"
        (folder / "gateway.toml").write_text(SETTINGS.format(data=self.data, machines=of) + keys)
        (folder / "gateway.toml").chmod(0o600)
        self.start()

    def start(self) -> None:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        own = {
            "GATEWAY_CONFIG": str(self.folder / "gateway.toml"),
            "GATEWAY_WORKERS": os.environ.get("FLEET_WORKERS", "2"),
            "GATEWAY_THREADS": "32",
            "GATEWAY_GRACEFUL_SECONDS": "5",
            "GATEWAY_ADMIN_KEY": ADMIN_KEY,
            "GATEWAY_METRICS_KEY": METRICS_KEY,
            "GATEWAY_BIND": f"{self.host}:{self.port}",
        }
        wrap = ["ip", "netns", "exec", self._netns] if self._netns else []
        with (self.folder / "gateway.err").open("ab") as errors:
            self.process = subprocess.Popen(
                [*wrap, sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"],
                cwd=ROOT,
                env={**kept, **own, **self._urls},
                stdout=errors,
                stderr=errors,
                start_new_session=True,
            )
        assert until(lambda: self.process.poll() is not None or self.answers(), 90), self.log
        assert self.process.poll() is None, self.log

    def answers(self) -> bool:
        with suppress(OSError, HTTPException):
            return self.ask("GET", "/health")[0] == 200
        return False

    @property
    def log(self) -> str:
        return (self.folder / "gateway.err").read_text()

    def ask(
        self, method: str, path: str, body: Any = None, key: str = "", timeout: float = 30.0
    ) -> tuple[int, dict[str, str], Any]:
        """Send a request. :returns: the status, the headers in lower case and the JSON of the body."""
        connection = HTTPConnection(self.host, self.port, timeout=timeout)
        headers = {"content-type": "application/json", **({"authorization": f"Bearer {key}"} if key else {})}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            text = response.read()
            named = {name.lower(): value for name, value in response.getheaders()}
            with suppress(ValueError):
                return response.status, named, json.loads(text)
            return response.status, named, None
        finally:
            connection.close()

    def metrics(self) -> str:
        """The page of metrics."""
        connection = HTTPConnection(self.host, self.port, timeout=30.0)
        try:
            connection.request("GET", "/metrics", headers={"authorization": f"Bearer {METRICS_KEY}"})
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def chat(self, model: str, key: str, **more: Any) -> tuple[int, dict[str, str], Any]:
        body = {"model": model, "messages": [{"role": "user", "content": "hello"}], **more}
        return self.ask("POST", "/v1/chat/completions", body, key)

    def kill(self) -> None:
        """End all processes at once, as a power failure does."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
        self.kill()


class Fleet:
    """Some machines, a Redis and a PostgreSQL.

    :param keys: the limits of each key of the settings, as TOML.
    :param wires: whether each machine is in a network namespace, of :func:`lay_wires`.
    :param patience: how long a gateway waits for Redis, seconds; 0: as long as it does by itself.
    """

    def __init__(
        self,
        folder: Path,
        keys: dict[str, str],
        postgres: PostgresServer,
        *,
        wires: bool = False,
        machines: int = MACHINES,
        patience: float = 0.0,
    ) -> None:
        self.postgres = postgres
        redis = ("--bind", f"127.0.0.1 {NETWORKS['redis']}.1", "--protected-mode", "no") if wires else ()
        self.redis = RedisServer(*redis)
        database = postgres.database(f"fleet{time.monotonic_ns()}")
        self.database = database.rpartition("/")[2]
        if wires:
            urls = {
                "STATE_URL": f"redis://{NETWORKS['redis']}.1:{self.redis.port}/0",
                "LEDGER_URL": f"postgresql://postgres@{NETWORKS['postgres']}.1:{postgres.port}/{self.database}",
            }
        else:
            urls = {"STATE_URL": self.redis.url, "LEDGER_URL": database}
        if patience:
            urls["STATE_URL"] += f"?socket_timeout={patience}&socket_connect_timeout={patience}"
        texts = [
            KEY.format(name=name, digest=sha256(secret(name).encode()).hexdigest(), limits=limits)
            for name, limits in keys.items()
        ]
        self.machines = [
            Machine(
                folder / str(number), number, urls, "".join(texts), f"fgw{number}" if wires else "", machines
            )
            for number in range(machines)
        ]

    def pull(self, machine: int, wire: str) -> None:
        _ip("link", "set", f"fgw{machine}{wire[0]}", "down")

    def plug(self, machine: int, wire: str) -> None:
        _ip("link", "set", f"fgw{machine}{wire[0]}", "up")

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """The rows of a statement on the common ledger."""
        return self.postgres.rows(statement, self.database)

    def stop(self) -> None:
        for machine in self.machines:
            if machine.process.poll() is None:
                machine.process.terminate()
        for machine in self.machines:
            machine.stop()
        self.redis.kill()


def lay_wires() -> None:
    """Make the namespaces and networks. Servers that are to be reached there start afterwards."""
    take_wires()
    for number in range(MACHINES):
        _ip("netns", "add", f"fgw{number}")
        _ip("-n", f"fgw{number}", "link", "set", "lo", "up")
    for wire, network in NETWORKS.items():
        bridge = f"fgw-{wire[0]}"
        _ip("link", "add", bridge, "type", "bridge")
        _ip("addr", "add", f"{network}.1/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        for number in range(MACHINES):
            outer, inner, space = f"fgw{number}{wire[0]}", f"in{wire[0]}", f"fgw{number}"
            _ip("link", "add", outer, "type", "veth", "peer", "name", inner, "netns", space)
            _ip("link", "set", outer, "master", bridge, "up")
            _ip("-n", space, "addr", "add", f"{network}.{number + 2}/24", "dev", inner)
            _ip("-n", space, "link", "set", inner, "up")


def take_wires() -> None:
    """Remove what :func:`lay_wires` has made."""
    for number in range(MACHINES):
        subprocess.run(["ip", "netns", "del", f"fgw{number}"], capture_output=True, check=False)
    for wire in NETWORKS:
        subprocess.run(["ip", "link", "del", f"fgw-{wire[0]}"], capture_output=True, check=False)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], capture_output=True, check=True)
