"""Ends a worker: short streams finish, long ones get an error event, no new call begins."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path

import pytest
from kit.gateways import KEY, UNLIMITED, StartGateway
from kit.servers import Gateway, Upstream
from kit.waiting import until
from kit.wire import open_stream


def draining(start_gateway: StartGateway, scripted: Upstream, grace: int = 4) -> Gateway:
    return start_gateway(
        GATEWAY_WORKERS="1",
        GATEWAY_UPSTREAMS=f"one={scripted.url};mock=mock://local?tokens=400&rate=40",
        GATEWAY_DEFAULT_UPSTREAM="one",
        GATEWAY_RATE_LIMIT_PER_MINUTE="0",
        GATEWAY_CIRCUIT_BREAKER_MAX_FAILURES=UNLIMITED,
        GATEWAY_REQUEST_TIMEOUT_SECONDS="20",
        GATEWAY_ANSWER_TIMEOUT_SECONDS="20",
        GATEWAY_GRACEFUL_SECONDS=str(grace),
    )


def read(gateway: Gateway, model: str, begun: threading.Semaphore) -> list[str]:
    with open_stream(gateway.port, KEY, model) as stream:
        events = stream.events()
        first = next(events)[1]
        begun.release()
        return [first, *(data for _, data in events)]


@pytest.mark.parametrize("how", [pytest.param("terminate", marks=pytest.mark.long), "reload"])
def test_short_streams_finish_and_long_ones_get_an_error_event(start_gateway, scripted: Upstream, how: str):
    gateway = draining(start_gateway, scripted)
    begun = threading.Semaphore(0)
    models = ["one/ok,tokens=10,pause=0.05", "mock/long", *["one/ok,tokens=90,pause=0.2"] * 20]
    with ThreadPoolExecutor(32) as pool:
        short, *long = [pool.submit(read, gateway, model, begun) for model in models]
        for _ in models:
            begun.acquire(timeout=10)
        waiting = pool.submit(gateway.chat, "one/ok,first=15")
        until(lambda: len(scripted.requests()) >= len(models))
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
    if how == "reload":
        assert gateway.chat("one/ok").status == 200


def test_calls_are_served_through_a_reload(start_gateway, scripted: Upstream):
    gateway = draining(start_gateway, scripted, grace=2)
    over = threading.Event()

    def keep_asking() -> list[int]:
        statuses = []
        while not over.is_set():
            statuses.append(gateway.chat("one/ok").status)
            time.sleep(0.01)
        return statuses

    with ThreadPoolExecutor(6) as pool:
        asking = [pool.submit(keep_asking) for _ in range(4)]
        for _ in range(2):
            gateway.reload()
        over.set()
        statuses = [status for one in asking for status in one.result()]
    assert set(statuses) == {200}
    assert len(statuses) > 20


# ---------------------------------------------------------------- repeatedly, under load

#: Streams of 1.5 s, and streams longer than every process. Calls are ended after half of this grace.
GRACE, SHORT, LONG = 8, "one/ok,tokens=30,pause=0.05", "one/ok,tokens=1500,pause=0.05"


class Crowd:
    """Callers in a loop: 25 for each kind of stream, four for buffered answers."""

    def __init__(self, port: int) -> None:
        self.ends: dict[str, Counter[str]] = {SHORT: Counter(), LONG: Counter(), "call": Counter()}
        self.over = threading.Event()
        self._port = port
        kinds = [SHORT, LONG] * 25 + ["call"] * 4
        self._threads = [threading.Thread(target=self._ask, args=(kind,)) for kind in kinds]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join(60)

    def _ask(self, kind: str) -> None:
        while not self.over.is_set():
            self.ends[kind][self._call(kind)] += 1

    def _call(self, kind: str) -> str:
        begun = ""
        try:
            model = "one/ok,first=0.05" if kind == "call" else kind
            with open_stream(self._port, KEY, model, stream=kind != "call") as stream:
                if stream.status != 200:
                    return f"{stream.status}: {stream.read()!r}"
                begun = "begun, "
                if kind == "call":
                    return "well" if stream.read().endswith(b"}") else "cut"
                for _, data in stream.events():
                    if data == "[DONE]":
                        return "well"
                    if self.over.is_set() and kind == LONG:
                        return "left"
                    last = data
                return str(json.loads(last).get("error", {}).get("code", "cut"))
        except (OSError, HTTPException) as error:
            return f"{begun}{error!r}"


@pytest.mark.soak
def test_twenty_reloads_and_five_restarts_under_fifty_streams(tmp_path: Path, scripted: Upstream):
    env = {
        "GATEWAY_API_KEYS": KEY,
        "GATEWAY_UPSTREAMS": f"one={scripted.url}",
        "GATEWAY_RATE_LIMIT_PER_MINUTE": "0",
        "GATEWAY_REQUEST_TIMEOUT_SECONDS": "60",
        "GATEWAY_GRACEFUL_SECONDS": str(GRACE),
    }
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        gateway = Gateway(tmp_path, KEY, env, listener=listener)
        crowd = Crowd(gateway.port)
        try:
            for number in range(20):
                time.sleep(1)
                gateway.reload()
                print(f"reload {number + 1}: {crowd.ends}")
            for number in range(5):
                time.sleep(2)
                gateway.stop()
                gateway = Gateway(tmp_path, KEY, env, listener=listener)
                print(f"restart {number + 1}: {crowd.ends}")
            time.sleep(2)
        finally:
            crowd.stop()
            gateway.stop()
    for kind, ends in crowd.ends.items():
        allowed = {"well", "left", "server_shutdown"} if kind == LONG else {"well"}
        assert set(ends) <= allowed, (kind, ends)
    assert crowd.ends[LONG]["server_shutdown"] >= 25 * 20
    assert crowd.ends[SHORT]["well"] > 25 * 20
    assert crowd.ends["call"]["well"] > 200


BREAKS = """
from pathlib import Path

exec(Path("gunicorn.conf.py").read_text())


def post_worker_init(worker):
    def broken():
        if flag.exists():
            flag.unlink()
            raise RuntimeError("a fault of the server itself")
        whole()

    flag, whole, worker.murder_pending = Path({flag!r}), worker.murder_pending, broken
"""


def test_a_worker_whose_main_thread_fails_exits(start_gateway: StartGateway, tmp_path: Path):
    """Its other threads wait for work that never comes."""
    flag, conf = tmp_path / "break", tmp_path / "breaks.conf.py"
    conf.write_text(BREAKS.format(flag=str(flag)))
    gateway = start_gateway(GATEWAY_WORKERS="1", options=("-c", str(conf)))
    assert gateway.chat("mock/x").status == 200  # so that a serving thread exists
    (before,) = gateway.workers
    gateway.faults = 1
    flag.touch()
    assert until(lambda: before not in gateway.workers and not Path(f"/proc/{before}").exists())
    assert until(lambda: len(gateway.workers) == 1)
    assert gateway.chat("mock/x").status == 200
    assert "a fault of the server itself" in gateway.stderr
