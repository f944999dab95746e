"""Runs streams in a storm for minutes: callers leave, upstreams fail, workers die, and nothing leaks.

``make soak``, or ``SOAK_MINUTES=2 pytest -m soak tests/scenarios/test_soak.py -s`` for a shorter run.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

import pytest
from kit.gateways import KEY, UNLIMITED, StartGateway
from kit.servers import ROOT, Gateway, Upstream
from kit.waiting import until
from kit.wire import PROMPT, Stream, ask, open_stream

pytestmark = [pytest.mark.live, pytest.mark.soak]

MINUTES = float(os.environ.get("SOAK_MINUTES", "10"))
CALLERS, LIMIT = 40, 64
#: Some callers pause their reading once for so long, seconds.
DAWDLE = 1.5
#: The longest round of the relay's loop that may be our own work, milliseconds (``soak.conf.py``).
LONGEST_TURN = 50
#: Streams that arrive complete, unless a caller leaves or a worker dies.
WHOLE = {
    "ok,tokens=40,pause=0.02": 6,
    "ok,tokens=20,pause=0.03,framing=length": 2,
    "ok,tokens=20,pause=0.03,framing=close": 2,
    "drip,pause=0.0005": 1,
    "huge-event,size=1000000,times=3": 2,
}
#: Streams that must never look complete.
BROKEN = {
    "cut,after=3": 2,
    "cut,after=3,how=reset": 2,
    "cut,after=2,framing=close": 1,
    "cut,after=2,framing=length,how=reset": 1,
    "stall,after=2": 2,
    "no-end": 1,
    "no-end,framing=close": 1,
}
#: Calls that fail before a stream begins.
REFUSED = {"error-first": 1, "status,code=500": 1, "hang-up": 1, "never": 1}
MODELS = {**WHOLE, **BROKEN, **REFUSED}


class Told(NamedTuple):
    """A caller's view of one call."""

    model: str
    verdict: str
    request_id: str
    ended: float


class Storm:
    """The callers. Each is a thread that asks for one stream after another."""

    def __init__(self, port: int, expected: dict[str, bytes]) -> None:
        self.port = port
        self.expected = expected
        self.told: list[Told] = []
        self.over = threading.Event()
        self._threads = [threading.Thread(target=self._calls, args=(seed,)) for seed in range(CALLERS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a caller was never answered"

    def _calls(self, seed: int) -> None:
        luck = random.Random(seed)
        while not self.over.is_set():
            (model,) = luck.choices(list(MODELS), list(MODELS.values()))
            verdict, request_id = self._call(model, luck)
            self.told.append(Told(model, verdict, request_id, time.monotonic()))
            if verdict == "no answer":
                time.sleep(0.05)

    def _call(self, model: str, luck: random.Random) -> tuple[str, str]:
        request_id = ""
        try:
            fields = {"stream_options": {"include_usage": True}}
            with open_stream(self.port, KEY, f"one/{model}", **fields) as stream:
                request_id = stream.headers["x-request-id"]
                if stream.status != 200:
                    return f"refused with {json.loads(stream.read())['error']['code']}", request_id
                return self._verdict(model, stream, luck), request_id
        except (OSError, HTTPException):
            return "broken off" if request_id else "no answer", request_id

    def _verdict(self, model: str, stream: Stream, luck: random.Random) -> str:
        leaves = luck.randrange(1, 15) if luck.random() < 0.25 else 0
        dawdles = luck.randrange(1, 15) if luck.random() < 0.05 else 0
        body, reads = b"", 0
        while data := stream._response.read1(1 << 20):
            body += data
            reads += 1
            if reads == dawdles:
                time.sleep(DAWDLE)
            if reads == leaves:
                if luck.random() < 0.5:
                    stream._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return "left"
        if body.endswith(b"data: [DONE]\n\n"):
            if model in BROKEN:
                return "truncated as success"
            return "complete" if body == self.expected[model] else "different"
        return f"told {json.loads(body.rpartition(b'data: ')[2])['error']['code']}"


def sockets(pid: int, port: int) -> Counter[str]:
    """The open descriptors of a worker: sockets by peer, and all others."""
    owners = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _remote, state, *rest = line.split()
        inode = rest[5]
        if state == "0A":
            owners[inode] = "listening"
        else:
            ours = int(local.rpartition(":")[2], 16) == port
            owners[inode] = "caller" if ours else "upstream"
    found: Counter[str] = Counter()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            link = os.readlink(fd)
            inode = link.removeprefix("socket:[").rstrip("]")
            found[owners.get(inode, "other") if link.startswith("socket:") else "other"] += 1
    return found


def admitted_at_once(gateway: Gateway) -> int:
    """The number of concurrent streams admitted for the key, which is the number of free leases."""
    opened, statuses = [], []
    try:
        for _ in range(LIMIT + 1):
            one = open_stream(gateway.port, KEY, "one/ok,tokens=400,pause=0.05")
            statuses.append(one.__enter__().status)
            opened.append(one)
    finally:
        for one in opened:
            one.__exit__(None, None, None)
    assert set(statuses) <= {200, 429}, statuses
    return statuses.count(200)


def probe(port: int, prefix: str, seconds: float) -> subprocess.Popen[str]:
    model = f"{prefix}clock,tokens=100,pause=0.02"
    script = str(Path(__file__).parents[1] / "kit/probe.py")
    command = [sys.executable, script, str(port), KEY, model, str(seconds)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def figures(process: subprocess.Popen[str]) -> dict[str, float]:
    said = json.loads(process.communicate(timeout=60)[0])
    return {name: round(figure, 4) for name, figure in said.items()}


def test_a_storm_leaks_nothing(start_gateway: StartGateway, scripted: Upstream) -> None:
    other = Upstream()  # only the probe calls it
    try:
        soak(start_gateway, scripted, other)
    finally:
        other.stop()


def soak(start_gateway: StartGateway, scripted: Upstream, other: Upstream) -> None:
    seconds = 60 * MINUTES
    gateway = start_gateway(
        options=("-c", "tests/kit/soak.conf.py"),
        GATEWAY_UPSTREAMS=f"one={scripted.url};probe={other.url}",
        GATEWAY_RATE_LIMIT_PER_MINUTE="0",
        GATEWAY_MAX_CONCURRENT_PER_KEY=str(LIMIT),
        GATEWAY_CIRCUIT_BREAKER_MAX_FAILURES=UNLIMITED,
        GATEWAY_REQUEST_TIMEOUT_SECONDS="2",
        GATEWAY_ANSWER_TIMEOUT_SECONDS="2",
        GATEWAY_SEND_TIMEOUT_SECONDS="1",
        GATEWAY_THREADS="32",
    )
    expected = {}
    for model in WHOLE:
        fields = {"stream": True, "stream_options": {"include_usage": True}}
        body = {"model": model, "messages": [{"role": "user", "content": PROMPT}], **fields}
        expected[model] = ask(scripted.port, "POST", "/v1/chat/completions", body).body
    probes = [probe(gateway.port, "probe/", seconds), probe(other.port, "", seconds)]
    began, storm = time.monotonic(), Storm(gateway.port, expected)
    time.sleep(seconds / 3)
    killed = time.monotonic()
    os.kill(gateway.workers[0], signal.SIGKILL)
    time.sleep(seconds / 3)
    gateway.reload()
    time.sleep(max(0.0, seconds - (time.monotonic() - began)))
    storm.stop()
    through, straight = (figures(one) for one in probes)

    # The load has ended: nothing is left open, and every lease is free.
    def quiet() -> bool:
        return not any(sockets(pid, gateway.port)["caller"] for pid in gateway.workers)

    assert until(quiet, 10)
    assert until(lambda: all(entry["ended"] for entry in scripted.requests()), 10)
    left = [sockets(pid, gateway.port) for pid in gateway.workers]
    threads = [len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in gateway.workers]
    assert until(lambda: admitted_at_once(gateway) == LIMIT, 30)
    assert until(quiet, 10)

    # The last streams are in flight when the server is asked to end.
    last = Storm(gateway.port, expected)
    time.sleep(1.5)
    stopped = time.monotonic()
    gateway.terminate()
    time.sleep(0.5)
    last.stop()
    gateway.stop()

    verdicts = Counter(one.verdict for one in storm.told)
    lines = Counter(re.findall(r'"request_id":"([0-9a-f]+)"', gateway.stderr))
    turns = [json.loads(told) for told in re.findall(r"turns: (.*)", gateway.stderr)]
    summary = {
        "seconds": round(stopped - began),
        "streams": len(storm.told),
        "verdicts": dict(verdicts.most_common()),
        "when it ended": dict(Counter(one.verdict for one in last.told)),
        "left over": [dict(one) for one in left],
        "threads": threads,
        "late through the gateway, s": through,
        "late without it, s": straight,
        "turns": [{**one, "longest": one["longest"][:5]} for one in turns],
    }
    print(json.dumps(summary, indent=1))

    judge(storm.told, last.told, lines, killed)
    # One of the five workers was killed, and could not report.
    assert len(turns) == 4
    for one in turns:
        assert one["ours"] < LONGEST_TURN, one
    for sockets_left in left:
        assert sockets_left["upstream"] <= 2 * 64  # idle connections in the pools
    assert max(threads) <= 32 + 64


def judge(told: list[Told], last: list[Told], lines: Counter[str], killed: float) -> None:
    """:param last: what was seen while the server ended. :param lines: of the log, by request."""
    for one in [*told, *last]:
        assert one.verdict not in ("different", "truncated as success"), one
        # No worker may have noticed a caller that left when the worker was killed. The caller may have read
        # the earlier bytes first.
        unnoticed = one.verdict == "left" and -1 < one.ended - killed < DAWDLE + 1
        if one.verdict == "broken off" or unnoticed:
            assert lines[one.request_id] <= 1, one
        elif one.request_id:
            assert lines[one.request_id] == 1, one
    assert max(lines.values()) == 1
    for one in told:
        # Only a killed worker leaves an answer without its end.
        if one.verdict in ("broken off", "no answer"):
            assert -0.5 < one.ended - killed < 3, one
        if one.model in WHOLE and one.verdict.startswith("told"):
            assert one.verdict == "told server_shutdown", one
