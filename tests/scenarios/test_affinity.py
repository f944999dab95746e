"""Sends a follow-up to the upstream that holds its state, from every worker and after a reload."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
from kit.gateways import StartGateway
from kit.servers import ROOT, Gateway
from kit.waiting import until
from kit.wire import Answer

pytestmark = pytest.mark.live

FILE = """
rate_limit_per_minute = 0
[upstreams.a]
url = "mock://local"
list_models = true
[upstreams.b]
url = "mock://local"
[models.m]
tiers = [["a/m", "b/m"]]
[keys.one]
sha256 = "DIGEST"
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("affinity") / "gateway.toml"
    digest = sha256(b"key-affinity").hexdigest()
    file.write_text(FILE.replace("DIGEST", digest))
    file.chmod(0o600)
    return file


@pytest.fixture(scope="module")
def two(start_gateway: StartGateway, file: Path) -> Gateway:
    return start_gateway("key-affinity", GATEWAY_CONFIG=str(file))


def respond(gateway: Gateway, **fields: object) -> Answer:
    return gateway.ask("POST", "/v1/responses", {"model": "m", "input": "Hello", **fields})


def made(gateway: Gateway, *, stream: bool) -> tuple[str, str]:
    """The id of a new response, and the upstream that made it."""
    answer = respond(gateway, stream=stream)
    assert answer.status == 200
    text = answer.body.decode()
    return "resp" + text.partition('"id":"resp')[2].partition('"')[0], answer.headers["x-gateway-upstream"]


@pytest.mark.parametrize("stream", [False, True])
def test_every_worker_sends_a_follow_up_to_the_upstream_that_has_its_state(
    two: Gateway, stream: bool
) -> None:
    places = set()
    for _ in range(6):
        name, where = made(two, stream=stream)
        places.add(where)
        for _ in range(4):  # each on a new connection, so that both workers answer
            after = respond(two, previous_response_id=name, stream=stream)
            assert (after.status, after.headers["x-gateway-upstream"]) == (200, where)
    assert places == {"a", "b"}


def test_a_reload_keeps_the_affinity(two: Gateway) -> None:
    name, where = made(two, stream=False)
    before = two.workers
    os.kill(two.pid, signal.SIGHUP)
    assert until(lambda: len(two.workers) == 2 and not set(before) & set(two.workers))
    for _ in range(4):
        after = respond(two, previous_response_id=name)
        assert (after.status, after.headers["x-gateway-upstream"]) == (200, where)


def test_an_unknown_reference_is_refused_with_its_name(two: Gateway) -> None:
    answer = respond(two, previous_response_id="resp_of_nobody")
    assert (answer.status, answer.error["param"]) == (400, "previous_response_id")
    answer = respond(two, background=True)
    assert (answer.status, answer.error["param"]) == (400, "background")


def test_the_check_command_tries_the_upstream(two: Gateway) -> None:
    command = [sys.executable, "-m", "flask_gateway", "try", "a", "--url", two.url]
    environ = {"PATH": os.environ["PATH"], "FLASK_GATEWAY_KEY": "key-affinity"}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "a  CLOSED  the next call tries it" in done.stdout
