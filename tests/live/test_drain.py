"""A worker is asked to end: what is short ends well, what is long is told, nothing new is begun."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from .conftest import KEY, MANY, StartGateway
from .servers import Gateway, Upstream, until
from .wire import open_stream


def draining(start_gateway: StartGateway, scripted: Upstream, grace: int = 4) -> Gateway:
    return start_gateway(
        GATEWAY_UPSTREAMS=f"one={scripted.url};mock=mock://local?tokens=400&rate=40",
        GATEWAY_DEFAULT_UPSTREAM="one",
        GATEWAY_RATE_LIMIT_PER_MINUTE="0",
        GATEWAY_CIRCUIT_BREAKER_MAX_FAILURES=MANY,
        GATEWAY_REQUEST_TIMEOUT_SECONDS="20",
        GATEWAY_GRACEFUL_SECONDS=str(grace),
    )


def read(gateway: Gateway, model: str, begun: threading.Semaphore) -> list[str]:
    with open_stream(gateway.port, KEY, model) as stream:
        events = stream.events()
        first = next(events)[1]
        begun.release()
        return [first, *(data for _, data in events)]


@pytest.mark.parametrize("how", ["terminate", "reload"])
def test_short_streams_end_well_and_long_ones_are_told(start_gateway, scripted: Upstream, how: str):
    gateway = draining(start_gateway, scripted)
    begun = threading.Semaphore(0)
    models = ["one/ok,tokens=20,pause=0.05", "mock/long", *["one/ok,tokens=900,pause=0.02"] * 20]
    with ThreadPoolExecutor(32) as pool:
        short, *long = [pool.submit(read, gateway, model, begun) for model in models]
        for _ in models:
            begun.acquire(timeout=10)
        waiting = pool.submit(gateway.chat, "one/ok,first=15")
        until(lambda: len(scripted.requests()) >= len(models))
        asked = time.monotonic()
        if how == "terminate":
            gateway.terminate()
        else:
            pool.submit(gateway.reload)
            time.sleep(0.5)
        assert short.result()[-1] == "[DONE]"
        for stream in long:
            said = stream.result()
            assert "[DONE]" not in said
            assert json.loads(said[-1])["error"]["code"] == "server_shutdown"
        answer = waiting.result()
        assert (answer.status, answer.error["code"]) == (503, "server_shutdown")
        assert time.monotonic() - asked < 4.5
    if how == "reload":
        assert gateway.chat("one/ok").status == 200


def test_calls_keep_coming_through_a_reload(start_gateway, scripted: Upstream):
    gateway = draining(start_gateway, scripted, grace=2)
    over = threading.Event()

    def keep_asking() -> list[int]:
        statuses = []
        while not over.is_set():
            statuses.append(gateway.chat("one/ok").status)
        return statuses

    with ThreadPoolExecutor(6) as pool:
        asking = [pool.submit(keep_asking) for _ in range(4)]
        for _ in range(3):
            gateway.reload()
        over.set()
        statuses = [status for one in asking for status in one.result()]
    assert set(statuses) == {200}
    assert len(statuses) > 20
