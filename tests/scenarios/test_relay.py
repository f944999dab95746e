"""Runs the relay under real gunicorn: many streams on few threads, with all kinds of failures."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection, IncompleteRead
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from kit.exchanges import Bench, call
from kit.gateways import KEY, UNLIMITED, StartGateway
from kit.servers import ROOT, Gateway, Upstream
from kit.tls import TLSRelay, make_certificate
from kit.waiting import until
from kit.wire import Stream, content, head, open_stream, stream_body

from flask_gateway.streaming.relay import Relay

pytestmark = pytest.mark.live

#: Threads of each worker. ``gunicorn_worker.reserved_threads`` keeps some of them for health and metrics.
THREADS = 4


@pytest.fixture(scope="module")
def gateway(start_gateway: StartGateway, scripted: Upstream) -> Gateway:
    return start_gateway(
        GATEWAY_THREADS=str(THREADS),
        GATEWAY_UPSTREAMS=f"one={scripted.url}",
        GATEWAY_RATE_LIMIT_PER_MINUTE="0",
        GATEWAY_CIRCUIT_BREAKER_MAX_FAILURES=UNLIMITED,
        GATEWAY_REQUEST_TIMEOUT_SECONDS="1",
        GATEWAY_ANSWER_TIMEOUT_SECONDS="1",
        GATEWAY_SEND_TIMEOUT_SECONDS="1",
        GATEWAY_STREAM_BUFFER_BYTES="65536",
    )


class Streams:
    """Concurrent streams, each read by a thread."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._stack = ExitStack()
        self._pool = self._stack.enter_context(ThreadPoolExecutor(128))

    def open(self, model: str, **more: Any) -> Stream:
        """Open a stream and read its head."""
        fields = {"stream_options": {"include_usage": True}, **more}
        return self._stack.enter_context(open_stream(self._gateway.port, KEY, model, **fields))

    def read(self, stream: Stream) -> Future[bytes]:
        return self._pool.submit(stream.read)

    def __enter__(self) -> Streams:
        return self

    def __exit__(self, *_: Any) -> None:
        self._stack.close()


@pytest.fixture
def streams(gateway: Gateway) -> Iterator[Streams]:
    with Streams(gateway) as streams:
        yield streams


def data_of(body: bytes) -> list[str]:
    return [event[6:].decode() for event in body.split(b"\n\n") if event.startswith(b"data: ")]


# ---------------------------------------------------------------- failures


def test_a_broken_stream_gets_an_error_event_and_the_others_continue(
    streams: Streams, upstream: Upstream
) -> None:
    well, cut, reset, stall = (
        [streams.read(streams.open(model)) for _ in range(8)]
        for model in ("ok,tokens=60,pause=0.02", "cut,after=2", "cut,after=2,how=reset", "stall,after=2")
    )
    expected = upstream.stream("ok,tokens=60,pause=0.02")
    assert [one.result() for one in well] == [expected] * 8
    for broken, code in (
        (cut, "upstream_stream_cut"),
        (reset, "upstream_stream_cut"),
        (stall, "upstream_timeout"),
    ):
        for one in broken:
            data = data_of(one.result())
            assert content(data[:-1]) == "tok0 tok1 "
            assert json.loads(data[-1])["error"]["code"] == code


def leave(sock: socket.socket, how: str) -> None:
    if how == "reset":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def test_upstream_connections_close_when_their_callers_leave(gateway: Gateway, upstream: Upstream) -> None:
    encoded = json.dumps(stream_body("ok,tokens=500,pause=0.02")).encode()
    raw = head(gateway.port, "/v1/chat/completions", KEY, f"Content-Length: {len(encoded)}") + encoded
    socks, ids = [], []
    for _ in range(20):
        socks.append(socket.create_connection(("127.0.0.1", gateway.port), 10))
        socks[-1].sendall(raw)
        said = b""
        while b"tok0" not in said:
            said += socks[-1].recv(65536)
        ids.append(said.partition(b"x-request-id: ")[2].partition(b"\r\n")[0].decode())
    left = time.monotonic()
    for number, sock in enumerate(socks):
        leave(sock, "reset" if number % 2 else "close")
    assert until(lambda: all(entry["ended"] for entry in upstream.requests()), 5)
    assert {entry["ended"] for entry in upstream.requests()} == {"peer left"}
    assert max(entry["ended_at"] for entry in upstream.requests()) - left < 4
    for request_id in ids:
        logged = gateway.logged(request_id)
        assert (logged["status"], logged["outcome"]) == (499, "ignored")


def test_a_caller_that_does_not_read_is_dropped_with_its_upstream(
    gateway: Gateway, upstream: Upstream
) -> None:
    encoded = json.dumps(stream_body("huge-event,size=900000,times=20")).encode()
    raw = head(gateway.port, "/v1/chat/completions", KEY, f"Content-Length: {len(encoded)}") + encoded
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.connect(("127.0.0.1", gateway.port))
        sock.sendall(raw)
        assert until(upstream.requests)
        assert until(lambda: upstream.last()["ended"], 5) == "peer left"


def test_slow_readers_do_not_slow_the_others(streams: Streams, upstream: Upstream) -> None:
    for _ in range(10):
        streams.open("huge-event,size=900000,times=8")
    began = time.monotonic()
    times = [moment for moment, data in streams.open("ok,tokens=20,pause=0.02").events() if '"tok' in data]
    assert len(times) == 20
    assert times[-1] - began < 3
    assert max(later - earlier for earlier, later in pairwise(times)) < 1


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Inside the block, the other worker takes all new calls."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_killed_worker_breaks_only_its_own_streams(gateway: Gateway, upstream: Upstream) -> None:
    model = "ok,tokens=60,pause=0.02"
    expected = upstream.stream(model)
    with Streams(gateway) as streams:
        reading = []
        for worker in gateway.workers:
            with stopped(worker):
                reading += [streams.read(streams.open(model)) for _ in range(12)]
        os.kill(gateway.workers[0], signal.SIGKILL)
        whole = cut = 0
        for one in reading:
            error = one.exception()
            if error is None:
                assert one.result() == expected
                whole += 1
            else:
                assert isinstance(error, IncompleteRead | ConnectionError), error
                cut += 1
    assert whole
    assert cut
    assert until(lambda: len(gateway.workers) == 2)
    assert all(gateway.chat("ok").status == 200 for _ in range(4))


# ---------------------------------------------------------------- success


def test_many_streams_on_few_threads(start_gateway: StartGateway) -> None:
    """Other calls are answered at once meanwhile. The benchmark's callers compare every byte."""
    with running("-m", "bench.load.upstream") as upstream:
        assert upstream.stdout
        gateway = start_gateway(
            GATEWAY_THREADS=str(THREADS),
            GATEWAY_UPSTREAMS=f"one=http://127.0.0.1:{int(upstream.stdout.readline())}",
            GATEWAY_RATE_LIMIT_PER_MINUTE="0",
        )
        took = []
        url = f"{gateway.url}/v1/chat/completions"
        with running("-c", CALLERS, url, KEY) as callers:
            time.sleep(1.7)
            for _ in range(20):
                for ask_for in (lambda: gateway.ask("GET", "/health"), lambda: gateway.chat("short")):
                    began = time.monotonic()
                    assert ask_for().status == 200
                    took.append(time.monotonic() - began)
            assert callers.poll() is None, "they were to run meanwhile"
            # Besides the serving threads: one accepts, one is the reactor, some settle.
            assert max(threads_of(worker) for worker in gateway.workers) <= THREADS + 12
            said = json.loads(callers.communicate(timeout=60)[0])
        gateway.terminate()
    verdicts = sum((Counter(one["verdicts"]) for one in said), Counter[str]())
    # On a busy machine a worker may be full for a moment, and refuse at once.
    assert verdicts.total() == 100
    assert verdicts["ok"] >= 90
    assert all("503" in verdict for verdict in verdicts if verdict != "ok")
    # A call that waited for a stream would take seconds.
    assert sorted(took)[len(took) // 2] < 1.0


#: Four streams begin together, then four more, up to a hundred.
CALLERS = """
import json, sys, time
from concurrent.futures import ThreadPoolExecutor
from bench.load.callers import run

def begin(batch):
    time.sleep(0.06 * batch)
    return run(sys.argv[1], 4, 60, 20, sys.argv[2])

with ThreadPoolExecutor(25) as pool:
    print(json.dumps(list(pool.map(begin, range(25)))))
"""


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A separate Python process."""
    command = [sys.executable, *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def threads_of(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def test_an_event_of_a_megabyte_passes(streams: Streams, upstream: Upstream) -> None:
    model = "huge-event,size=1000000"
    assert streams.read(streams.open(model)).result() == upstream.stream(model)


def test_many_callers_with_http_1_0_are_served(streams: Streams, upstream: Upstream) -> None:
    model = "ok,tokens=5,pause=0.02"
    opened = [streams.open(model, version="1.0") for _ in range(10)]
    assert not any("transfer-encoding" in stream.headers for stream in opened)
    assert [streams.read(stream).result() for stream in opened] == [upstream.stream(model)] * 10


@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_upstream_connections_are_reused(
    gateway: Gateway, streams: Streams, upstream: Upstream, framing: str
) -> None:
    for _ in range(30):
        streams.open(f"ok,pause=0.005,framing={framing}").read()
    requests = upstream.requests()
    assert len(requests) == 30
    # One for each worker, and some more for streams that began before the last connection returned.
    assert len({entry["connection"] for entry in requests}) <= 10


def test_a_callers_connection_is_kept_alive_after_a_stream(
    start_gateway: StartGateway, upstream: Upstream
) -> None:
    gateway = start_gateway(
        GATEWAY_THREADS=str(THREADS),
        GATEWAY_UPSTREAMS=f"one={upstream.url}",
        GATEWAY_RATE_LIMIT_PER_MINUTE="0",
    )
    whole, model = upstream.stream("ok,pause=0.005"), "ok,pause=0.005"
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    connection = HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    connection.connect()
    sock = connection.sock
    with closing(connection):
        for _ in range(3 * THREADS):
            for body in (stream_body(model), {**stream_body(model), "stream": False, "stream_options": None}):
                connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
                response = connection.getresponse()
                said = response.read()
                assert response.status == 200, said
                assert said == whole or not body["stream"]
                assert connection.sock is sock
        connection.request("POST", "/v1/chat/completions", json.dumps(stream_body("cut,after=2")), headers)
        assert b"upstream_stream_cut" in connection.getresponse().read()
        assert connection.sock is sock
    # No thread and no relay still counts one of them.
    for _ in range(3 * THREADS):
        with open_stream(gateway.port, KEY, model, stream_options={"include_usage": True}) as stream:
            assert stream.read() == whole


def test_streams_pass_over_tls(upstream: Upstream, tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    tls, bench = TLSRelay(certificate, upstream.port), Bench(verify=str(certificate))
    relay = Relay(bench.reactor)
    one = bench.upstream(tls.url, idle=1.0)
    try:
        for model in (
            "ok,tokens=9,pause=0.01",
            "huge-event,size=1000000",
            "drip",
            "ok,framing=length",
            "ok,framing=close",
        ):
            for _ in range(2):
                assert carried(relay, one.send(tls_call(model))) == upstream.stream(model)
        assert b"upstream_stream_cut" in carried(relay, one.send(tls_call("cut,after=2")))
        assert b"upstream_timeout" in carried(relay, one.send(tls_call("stall,after=2")))
    finally:
        assert until(lambda: len(relay) == 0)
        relay.close()
        bench.close()
        tls.stop()


def tls_call(model: str) -> Any:
    return call(model, stream=True, stream_options={"include_usage": True})


def carried(relay: Relay, reply: Any) -> bytes:
    """The bytes that the caller receives."""
    ours, caller = socket.socketpair()
    over, body = threading.Event(), b""

    def done(clean: bool) -> None:
        ours.close()
        over.set()

    with caller:
        relay.start(reply.prime(), ours, b"", chunked=False, done=done)
        while data := caller.recv(65536):
            body += data
        assert over.wait(10)
    return body
