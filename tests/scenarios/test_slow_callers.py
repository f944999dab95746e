"""Connects a thousand callers that send or read very slowly to the shipped nginx: ``make soak``."""

from __future__ import annotations

import http.client
import resource
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from kit.gateways import KEY, UNLIMITED, StartGateway
from kit.load import Asking
from kit.needs import need
from kit.nginx import Nginx
from kit.servers import Upstream
from kit.wire import PROMPT, TIMEOUT, head

pytestmark = [pytest.mark.live, pytest.mark.soak]

SECONDS = 40
#: slowhttptest: heads, bodies and reads that take for ever, on 1000 connections, 200 new ones a second. It
#: takes most of a core, which it would not have of this machine: so it gets what others leave.
COMMON = ["nice", "-n", "19", "slowhttptest", "-c", "1000", "-r", "200", "-l", str(SECONDS), "-p", "3"]
ATTACKS = {
    "heads": ["-H", "-i", "5", "-x", "24"],
    "bodies": ["-B", "-i", "5", "-s", "8192", "-x", "10", "-t", "POST"],
    "reads": ["-X", "-w", "1", "-y", "8", "-n", "5", "-z", "8", "-k", "3"],
}


@pytest.fixture(scope="module")
def site(start_gateway: StartGateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    gateway = start_gateway(GATEWAY_UPSTREAMS="mock=mock://local", GATEWAY_RATE_LIMIT_PER_MINUTE=UNLIMITED)
    nginx = Nginx(tmp_path_factory.mktemp("slow"), f"127.0.0.1:{gateway.port}")
    yield nginx
    nginx.stop()


class Customer(Asking):
    """Asks for a completion forty times a second, from a separate address."""

    def __init__(self, port: int) -> None:
        super().__init__(self._ask, 0.025)
        self._port = port

    def _ask(self) -> int:
        # One connection each: connecting is part of the measurement.
        source = ("127.0.0.5", 0)
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5, source_address=source)
        body = b'{"model":"mock","messages":[{"role":"user","content":"Hello"}]}'
        try:
            headers = {"x-api-key": KEY, "content-type": "application/json"}
            connection.request("POST", "/v1/chat/completions", body, headers)
            response = connection.getresponse()
            response.read()
            return response.status
        finally:
            connection.close()


@pytest.mark.parametrize("attack", ATTACKS)
def test_other_callers_are_served_during_a_slow_attack(site: Nginx, tmp_path: Path, attack: str):
    need("slowhttptest")
    command = [*COMMON, *ATTACKS[attack], "-u", f"{site.url}/v1/chat/completions"]
    with Customer(site.port) as before:
        time.sleep(10)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    with Customer(site.port) as customer:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS + 30)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    attacker = after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime
    asked = len(customer.times) + len([one for one in customer.failures if not one.isdecimal()])
    served = 1 - len(customer.failures) / asked
    print(
        f"\n{attack}: {asked} asked, {served:.3%} served, p99 {customer.p99() * 1000:.1f} ms, "
        f"{before.p99() * 1000:.1f} ms before; the attacker took {attacker:.1f} s of processor time"
    )
    print(done.stdout[-700:])
    assert "slow HTTP test status" in done.stdout
    assert asked > 500
    assert served >= 0.999, customer.failures
    assert customer.p99() < 2 * before.p99()


# ---------------------------------------------------------------- slow readers of long streams

READERS, STREAM = 100, 5_000_000


class Readers:
    """A hundred who asked each for a stream of 5 MB, and read 60 kB of it a second until told to stop."""

    def __init__(self, port: int, model: str) -> None:
        body = f'{{"model":"{model}","stream":true,"messages":[{{"role":"user","content":"{PROMPT}"}}]}}'
        asked = head(port, "/v1/chat/completions", KEY, f"Content-Length: {len(body)}") + body.encode()
        self._stack = ExitStack()
        self.sockets: list[socket.socket] = []
        for _ in range(READERS):
            sock = self._stack.enter_context(socket.socket())
            sock.setsockopt(
                socket.SOL_SOCKET, socket.SO_RCVBUF, 131072
            )  # otherwise the kernel would read for the caller
            sock.bind(("127.0.0.6", 0))
            sock.settimeout(TIMEOUT)
            sock.connect(("127.0.0.1", port))
            sock.sendall(asked)
            assert sock.recv(12) == b"HTTP/1.1 200"
            self.sockets.append(sock)
        self.read = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Readers:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._stack.close()

    def _run(self) -> None:
        while not self._stop.wait(0.2):
            for sock in self.sockets:
                self.read += len(sock.recv(12_000))


@pytest.mark.parametrize("seconds", [30])
def test_slow_readers_of_long_streams(
    start_gateway: StartGateway, scripted: Upstream, tmp_path: Path, seconds: int
):
    gateway = start_gateway(
        GATEWAY_WORKERS="1",
        GATEWAY_UPSTREAMS=f"mock=mock://local;one={scripted.url}",
        GATEWAY_RATE_LIMIT_PER_MINUTE=UNLIMITED,
        GATEWAY_REQUEST_TIMEOUT_SECONDS="120",
        GATEWAY_MAX_STREAMS="200",
    )
    nginx = Nginx(tmp_path, f"127.0.0.1:{gateway.port}")
    model = f"one/huge-event,size=50000,times={STREAM // 50000}"
    try:
        with Customer(nginx.port) as before:
            time.sleep(seconds / 2)
        with Readers(nginx.port, model) as readers:
            time.sleep(3)
            with Customer(nginx.port) as customer:
                time.sleep(seconds)
            read = readers.read
        print(
            f"\n{READERS} readers took {read / 1e6:.1f} MB; others' p99 {customer.p99() * 1000:.1f} ms, "
            f"{before.p99() * 1000:.1f} ms before"
        )
    finally:
        nginx.stop()
    assert read > READERS * seconds * 30_000
    assert not customer.failures
    assert customer.p99() - before.p99() < 0.02
