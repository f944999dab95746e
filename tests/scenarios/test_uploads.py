"""Many uploads at once, and slow ones behind nginx: what they take of memory and threads.

``pytest -m soak tests/scenarios/test_uploads.py -s`` makes 32 uploads of 25 MB, and prints the figures.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from kit.gateways import KEY, UNLIMITED, StartGateway
from kit.needs import need
from kit.nginx import Nginx, without_rates
from kit.process_memory import MIB, cost_to
from kit.servers import Gateway
from kit.upload_sink import UploadSink

pytestmark = pytest.mark.live

#: Of the gateway that gets few uploads, or slow ones.
THREADS = 16
#: The most that the memory of a worker may grow, bytes.
FLAT = 64 * MIB
HEAD = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.mp3"\r\n\r\n'
END = b'\r\n--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--B--\r\n'
TYPE = "multipart/form-data; boundary=B"


@pytest.fixture(scope="module")
def sink() -> Iterator[UploadSink]:
    running = UploadSink()
    yield running
    running.close()


def started(start_gateway: StartGateway, sink: UploadSink, threads: int) -> Gateway:
    return start_gateway(
        GATEWAY_UPSTREAMS=f"sink={sink.url};mock=mock://local",
        GATEWAY_DEFAULT_UPSTREAM="sink",
        GATEWAY_WORKERS="1",
        GATEWAY_THREADS=str(threads),
        GATEWAY_RATE_LIMIT_PER_MINUTE=UNLIMITED,
        GATEWAY_REQUEST_TIMEOUT_SECONDS="60",
    )


def upload(port: int, data: bytes) -> str:
    """Upload the file. Return the digest that the upstream answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": TYPE}
        length = {"Content-Length": str(len(HEAD) + len(data) + len(END))}
        connection.request("POST", "/v1/audio/transcriptions", iter((HEAD, data, END)), headers | length)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, body
        return body.decode().partition('"text": "')[2].partition('"')[0]
    finally:
        connection.close()


def upload_all(gateway: Gateway, port: int, count: int, size: int) -> tuple[int, float]:
    """Upload so many files at once. Return the growth of memory, bytes, and the CPU time, seconds."""
    data = os.urandom(size)
    upload(port, data)
    with cost_to(gateway) as cost, ThreadPoolExecutor(count) as pool:
        digests = list(pool.map(upload, [port] * count, [data] * count))
    assert set(digests) == {hashlib.sha256(data).hexdigest()}
    return cost.memory, cost.cpu


@pytest.fixture(scope="module")
def gateway(start_gateway: StartGateway, sink: UploadSink) -> Gateway:
    return started(start_gateway, sink, THREADS)


def test_uploads_at_once_take_no_memory(gateway: Gateway) -> None:
    memory, _ = upload_all(gateway, gateway.port, 6, 6 * MIB)
    assert memory < 28 * MIB


def test_slow_uploads_behind_nginx_hold_no_thread(
    gateway: Gateway, tmp_path_factory: pytest.TempPathFactory
) -> None:
    need("nginx")
    nginx = Nginx(tmp_path_factory.mktemp("nginx"), f"127.0.0.1:{gateway.port}", without_rates)
    try:
        answers = slow_uploads(gateway, nginx.port, THREADS + 4)
    finally:
        nginx.stop()
    assert all(b" 200 " in answer.partition(b"\r\n")[0] for answer in answers)


def slow_uploads(gateway: Gateway, port: int, count: int) -> list[bytes]:
    """Send half of each form, make a call meanwhile, and send the rest. Return the answers."""
    data, before = bytes(2 * MIB), len(gateway.stderr)
    size = len(HEAD) + len(data) + len(END)
    lines = ("POST /v1/audio/transcriptions HTTP/1.1", "Host: x", f"Authorization: Bearer {KEY}")
    head = "\r\n".join(
        (*lines, f"Content-Type: {TYPE}", f"Content-Length: {size}", "Connection: close", "", "")
    )
    with ExitStack() as stack:
        callers = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), 60)) for _ in range(count)
        ]
        for sock in callers:
            sock.sendall(head.encode() + HEAD + data[:MIB])
        for _ in range(5):
            assert gateway.chat("mock").status == 200
        assert "/v1/audio/transcriptions" not in gateway.stderr[before:]
        return [finished(sock, data[MIB:] + END) for sock in callers]


def finished(sock: socket.socket, rest: bytes) -> bytes:
    """Send the rest of a form, and read the answer."""
    sock.sendall(rest)
    return b"".join(iter(lambda: sock.recv(65536), b""))


@pytest.mark.soak
def test_32_uploads_of_25_mb(
    start_gateway: StartGateway, sink: UploadSink, tmp_path_factory: pytest.TempPathFactory
) -> None:
    need("nginx")
    gateway = started(start_gateway, sink, 64)
    nginx = Nginx(tmp_path_factory.mktemp("nginx"), f"127.0.0.1:{gateway.port}", without_rates)
    try:
        for port in (gateway.port, nginx.port):
            memory, cpu = upload_all(gateway, port, 32, 25_000_000)
            where = "behind nginx" if port == nginx.port else "straight"
            print(f"\n32 uploads of 25 MB, {where}: +{memory / MIB:.1f} MiB, {cpu:.2f} s of CPU")
            assert memory < FLAT
    finally:
        nginx.stop()
