"""Tests the state that workers share: exact over all of them, kept over a reload and a worker's death."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from kit.gateways import KEY, StartGateway
from kit.servers import Gateway, Upstream
from kit.waiting import until
from kit.wire import open_stream

pytestmark = pytest.mark.live

#: A client process: sends a number of calls, and prints the count of each status.
CLIENT = """
import collections, http.client, json, sys
port, key, times = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
body = json.dumps({"model": "mock", "messages": [{"role": "user", "content": "Hello"}]})
headers = {"authorization": "Bearer " + key, "content-type": "application/json"}
seen = collections.Counter()
sys.stdin.readline()
for _ in range(times):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
    connection.request("POST", "/v1/chat/completions", body, headers)
    seen[connection.getresponse().status] += 1
    connection.close()
print(json.dumps(seen))
"""


@pytest.mark.long
def test_a_burst_of_eight_clients_on_four_workers_admits_exactly_the_limit(
    start_gateway: StartGateway,
) -> None:
    limit, clients = 200, 8
    gateway = start_gateway(GATEWAY_WORKERS="4", GATEWAY_RATE_LIMIT_PER_MINUTE=str(limit))
    command = [sys.executable, "-c", CLIENT, str(gateway.port), KEY, str(limit // 4)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(clients)
    ]
    seen: Counter[str] = Counter()
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        out, _ = process.communicate(timeout=60)
        seen.update(json.loads(out))
    assert seen == {"200": limit, "429": clients * limit // 4 - limit}


def test_a_reload_keeps_the_counts(start_gateway: StartGateway) -> None:
    gateway = start_gateway(GATEWAY_WORKERS="1", GATEWAY_RATE_LIMIT_PER_MINUTE="10")
    for _ in range(7):
        assert gateway.chat("mock").status == 200
    gateway.reload()
    assert gateway.chat("mock").headers["x-ratelimit-remaining-requests"] == "2"


def test_a_key_has_no_more_concurrent_calls_than_its_limit(
    start_gateway: StartGateway, upstream: Upstream
) -> None:
    gateway = start_gateway(
        GATEWAY_UPSTREAMS=f"scripted={upstream.url};mock=mock://local", GATEWAY_MAX_CONCURRENT_PER_KEY="3"
    )
    streams = [open_stream(gateway.port, KEY, "scripted/ok,tokens=50,pause=0.1") for _ in range(3)]
    opened = [stream.__enter__() for stream in streams]
    assert [stream.status for stream in opened] == [200] * 3
    began = time.monotonic()
    refused = gateway.chat("mock")
    assert time.monotonic() - began < 2
    assert (refused.status, refused.error["type"]) == (429, "concurrency")
    assert refused.headers["retry-after"] == "1"
    streams[0].__exit__(None, None, None)
    assert until(lambda: gateway.chat("mock").status == 200)
    for stream in streams[1:]:
        stream.__exit__(None, None, None)


def test_an_upstream_gets_no_more_concurrent_calls_than_its_limit(
    start_gateway: StartGateway, upstream: Upstream
) -> None:
    gateway = start_gateway(
        GATEWAY_UPSTREAMS=f"scripted={upstream.url};mock=mock://local",
        GATEWAY_UPSTREAM_SCRIPTED_MAX_IN_FLIGHT="2",
    )
    with (
        open_stream(gateway.port, KEY, "scripted/ok,tokens=50,pause=0.1"),
        open_stream(gateway.port, KEY, "scripted/ok,tokens=50,pause=0.1"),
    ):
        refused = gateway.chat("scripted")
        assert (refused.status, refused.error["code"]) == (503, "upstream_full")
        assert refused.headers["x-gateway-upstream"] == "scripted"
        assert gateway.chat("mock").status == 200
        assert len(upstream.requests()) == 2


@pytest.mark.long
def test_killed_workers_leak_no_leases(start_gateway: StartGateway, upstream: Upstream) -> None:
    """Every second worker dies during its calls. No call too many is admitted; all leases end in 10 s."""
    limit = 150
    gateway = start_gateway(
        f"{KEY},second-key",
        GATEWAY_UPSTREAMS=f"scripted={upstream.url}",
        GATEWAY_RATE_LIMIT_PER_MINUTE=str(limit),
        GATEWAY_UPSTREAM_SCRIPTED_MAX_IN_FLIGHT="8",
        GATEWAY_MAX_CONCURRENT_PER_KEY="8",
    )
    statuses = _load_while_workers_die(gateway, seconds=6)
    assert set(statuses) <= {0, 200, 429, 502, 503}, statuses
    assert until(lambda: _is_used_up(gateway))
    # A killed worker's call was admitted. It may or may not have reached the upstream.
    assert limit - statuses[0] <= len(upstream.requests()) <= limit, statuses
    for _ in range(15):  # not more often: the second key has a limit, too
        if (last := _all_at_once(gateway, 8)) == {200: 8}:
            break
        time.sleep(1)
    assert last == {200: 8}, gateway.stderr[-2000:]


def _load_while_workers_die(gateway: Gateway, seconds: float) -> Counter[int]:
    """The statuses of ten callers that call without a break. 0 stands for a broken connection."""
    seen: Counter[int] = Counter()
    stop = time.monotonic() + seconds

    def ask(_: int) -> list[int]:
        found = []
        while time.monotonic() < stop:
            try:
                model = "scripted/ok,tokens=3,pause=0.02"
                found.append(gateway.chat(model, stream=True, headers={"x_api_key": KEY}).status)
            except (OSError, http.client.HTTPException):
                found.append(0)
            time.sleep(0.02)
        return found

    with ThreadPoolExecutor(10) as pool:
        answers = pool.map(ask, range(10))
        while time.monotonic() < stop - 1.5:
            time.sleep(1)
            os.kill(random.choice(gateway.workers), signal.SIGKILL)
            assert until(lambda: len(gateway.workers) == 2)
        for found in answers:
            seen.update(found)
    return seen


def _is_used_up(gateway: Gateway) -> bool:
    """Whether the first key's limit is used up. This sends one more request."""
    answer = gateway.chat("scripted", headers={"x_api_key": KEY})
    return answer.status == 429 and answer.error["type"] == "requests"


def _all_at_once(gateway: Gateway, count: int) -> Counter[int]:
    """The statuses of a number of concurrent calls."""
    model, headers = "scripted/ok,tokens=2,pause=0.3", {"x_api_key": "second-key"}
    with ThreadPoolExecutor(count) as pool:
        answers = pool.map(lambda _: gateway.chat(model, headers=headers), range(count))
        return Counter(answer.status for answer in answers)
