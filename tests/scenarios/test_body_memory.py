"""Sends many large bodies at once: memory is bounded and returned, and other callers are served."""

from __future__ import annotations

import json
import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from kit.gateways import StartGateway
from kit.process_memory import MIB, cost_to
from kit.servers import Gateway, Upstream
from kit.waiting import until
from kit.wire import Answer

LIMIT = 48 * MIB
LARGE = 8 * MIB
#: A body takes memory twice while it is forwarded: as received and as sent.
MOST = 2 * LIMIT + 48 * MIB
OTHER = "other-key-of-body-memory"
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def bounded(start_gateway: StartGateway, scripted: Upstream) -> Gateway:
    return start_gateway(
        key="key-of-body-memory",
        GATEWAY_API_KEYS=f"key-of-body-memory,{OTHER}",
        GATEWAY_WORKERS="1",
        GATEWAY_THREADS="48",
        GATEWAY_UPSTREAMS=f"scripted={scripted.url}",
        GATEWAY_DEFAULT_UPSTREAM="scripted",
        GATEWAY_RATE_LIMIT_PER_MINUTE="0",
        GATEWAY_REQUEST_TIMEOUT_SECONDS="30",
        GATEWAY_BODY_MEMORY_BYTES=str(LIMIT),
    )


def large(text: str = "x", model: str = "ok,first=1") -> bytes:
    content = text * (LARGE // len(text.encode()))
    body = {"model": model, "messages": [{"role": "user", "content": content}]}
    return json.dumps(body, ensure_ascii=False).encode()


def resident(gateway: Gateway) -> int:
    (pid,) = gateway.workers
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmRSS" in line)
    return int(line.split()[1]) * 1024


@pytest.mark.parametrize("text", ["x", "你"])
def test_large_bodies_stay_within_the_limit_and_their_memory_is_returned(bounded: Gateway, text: str):
    assert bounded.chat("ok").status == 200
    body, over = large(text), threading.Event()
    others: list[Answer] = []

    def ask_on() -> None:
        while not over.wait(0.02):
            others.append(bounded.chat("ok", headers={"x_api_key": OTHER}))

    before = resident(bounded)
    with cost_to(bounded) as cost, ThreadPoolExecutor(25) as pool:
        asking = pool.submit(ask_on)
        answers = list(pool.map(lambda _: bounded.ask("POST", CHAT, body), range(24)))
        over.set()
        asking.result()
    statuses = Counter(answer.status for answer in answers)
    assert set(statuses) == {200, 503}
    # Bodies that have arrived in part count, too, so fewer than the share of one key may be answered at once.
    assert statuses[200] >= LIMIT * 3 // 4 // (LARGE + 1024) // 2
    refused = next(answer for answer in answers if answer.status == 503)
    assert refused.error["code"] == "overloaded"
    assert refused.headers["retry-after"] == "1"
    assert others
    assert {answer.status for answer in others} == {200}
    assert cost.memory < MOST
    assert until(lambda: resident(bounded) < before + 32 * MIB), (before, resident(bounded))


def test_announced_bodies_that_do_not_arrive_take_no_memory(bounded: Gateway):
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {bounded.key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {15 * MIB}\r\n\r\n"
    slow = [socket.create_connection(("127.0.0.1", bounded.port)) for _ in range(12)]
    try:
        for sock in slow:
            sock.sendall(head.encode() + b'{"model":"ok","messages":"' + b"x" * 100_000)
        assert bounded.ask("POST", CHAT, large(model="ok")).status == 200
    finally:
        for sock in slow:
            sock.close()
