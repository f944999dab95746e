"""Two gateways behind nginx: a release is rolled, a machine dies, the database is restored."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

import pytest
from kit.admins import ADMIN_KEY
from kit.fleet import Fleet, secret
from kit.needs import need
from kit.nginx import Nginx, without_rates
from kit.postgres import PostgresServer
from kit.servers import ROOT
from kit.waiting import until
from kit.wire import ask

pytestmark = [pytest.mark.live, pytest.mark.soak]

SCRIPT = ROOT / "flask_gateway" / "deploy" / "fleet" / "nginx-gateways.sh"
BODY = {"model": "cent", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer) -> Iterator[Fleet]:
    made = Fleet(tmp_path_factory.mktemp("fleet"), {"free": "", "mine": ""}, postgres_server)
    yield made
    made.stop()


class Front:
    """nginx with the shipped site, and the shipped script that tells it which gateways are ready."""

    def __init__(self, folder: Path, fleet: Fleet) -> None:
        need("nginx")
        need("curl")
        self.list, self.out = folder / "servers.conf", folder / "out"
        self.out.mkdir()
        self.names = [f"127.0.0.1:{machine.port}" for machine in fleet.machines[:2]]
        self.list.write_text("".join(f"server {name};" for name in self.names))
        behind = "server unix:/run/flask-gateway.sock max_fails=0;"

        def several(zones: str) -> str:
            assert behind in zones
            return zones.replace(behind, f"# unix:/run/flask-gateway.sock\n    include {self.list};")

        self.nginx = Nginx(folder, "none", without_rates, several)
        reload = folder / "reload"
        # On a busy machine nginx takes its time, too.
        reload.write_text(f"#!/bin/sh\nsleep 2; exec nginx -p {folder} -c nginx.conf -s reload\n")
        reload.chmod(0o755)
        self._script = subprocess.Popen(
            ["sh", str(SCRIPT), str(self.list), *self.names],
            env={
                **os.environ,
                "GATEWAYS_OUT": str(self.out),
                "NGINX_RELOAD": str(reload),
                "NGINX_PID": str(folder / "nginx.pid"),
            },
            stderr=subprocess.DEVNULL,
        )

    def is_out(self, number: int) -> bool:
        """Whether nginx has it no more. Its old workers take no calls then."""
        in_force = self.list.with_name(f"{self.list.name}.in-force")
        lines = in_force.read_text().splitlines() if in_force.exists() else []
        return any(self.names[number] in line and "down" in line for line in lines)

    def stop(self) -> None:
        self._script.kill()
        self._script.wait()
        self.nginx.stop()


@pytest.fixture
def front(tmp_path: Path, fleet: Fleet) -> Iterator[Front]:
    made = Front(tmp_path, fleet)
    yield made
    made.stop()


@contextmanager
def calling(port: int) -> Iterator[Counter[str]]:
    """Clients that call one after another. They count statuses, and calls without an answer."""
    seen: Counter[str] = Counter()
    over = threading.Event()

    def call() -> None:
        while not over.wait(0.02):
            try:
                head = {"authorization": f"Bearer {secret('free')}"}
                answer = ask(port, "POST", "/v1/chat/completions", BODY, head)
                why = "" if answer.status == 200 else f" {answer.json['error']['message']}"
                seen[f"{answer.status}{why}"] += 1
            except (OSError, HTTPException) as error:
                seen[type(error).__name__] += 1

    threads = [threading.Thread(target=call) for _ in range(6)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_a_release_is_rolled_over_the_machines_without_a_failed_call(fleet: Fleet, front: Front) -> None:
    with calling(front.nginx.port) as seen:
        for number in (0, 1, 0, 1):
            machine = fleet.machines[number]
            (front.out / front.names[number]).touch()
            assert until(lambda n=number: front.is_out(n))
            time.sleep(1)  # nginx's old workers send on what they have taken
            machine.stop()
            machine.start()
            (front.out / front.names[number]).unlink()
            assert until(lambda n=number: not front.is_out(n))
    print(f"\nrolled four times: {dict(seen)}")
    assert set(seen) == {"200"}
    assert seen["200"] > 100


def test_a_dead_machine_costs_at_most_the_calls_that_it_had(fleet: Fleet, front: Front) -> None:
    with calling(front.nginx.port) as seen:
        time.sleep(1)
        fleet.machines[0].kill()
        assert until(lambda: front.is_out(0))
        time.sleep(2)
        fleet.machines[0].start()
        assert until(lambda: not front.is_out(0))
    print(f"\na machine killed: {dict(seen)}")
    failed = sum(count for status, count in seen.items() if status != "200")
    assert failed <= 6  # each of the clients had one call there at most


def test_a_backup_is_restored(fleet: Fleet, postgres_server: PostgresServer, tmp_path: Path) -> None:
    """``pg_dump`` while the gateways serve; the database is lost; ``pg_restore``; the gateways go on."""
    first = fleet.machines[0]
    made = first.ask("POST", "/admin/v1/keys", {"name": "kept"}, ADMIN_KEY)[2]
    assert first.chat("cent", secret("mine"))[0] == 200
    assert until(lambda: fleet.rows("SELECT count(*) FROM charge WHERE key = 'mine'") == [(1,)])
    need("pg_dump")
    dump = tmp_path / "gateway.dump"
    url = fleet.postgres.url_of(fleet.database)
    subprocess.run(["pg_dump", "-Fc", "-f", dump, url], check=True)
    sums = fleet.rows("SELECT sum(cost), count(*) FROM charge")
    postgres_server.rows(f"DROP DATABASE {fleet.database} WITH (FORCE)")
    assert first.chat("cent", made["secret"])[0] == 200  # its line waits in the journal
    restored = postgres_server.database(f"restored{time.monotonic_ns()}")
    subprocess.run(["pg_restore", "-d", restored, dump], check=True)
    postgres_server.rows(f"ALTER DATABASE {restored.rpartition('/')[2]} RENAME TO {fleet.database}")
    after = (sums[0][0] + 10**7, sums[0][1] + 1)
    assert until(lambda: fleet.rows("SELECT sum(cost), count(*) FROM charge") == [after], 30)
    assert fleet.machines[1].chat("cent", made["secret"])[0] == 200
    assert until(lambda: first.ask("POST", "/admin/v1/keys", {}, ADMIN_KEY)[0] == 201)
