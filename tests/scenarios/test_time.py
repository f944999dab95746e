"""Tests every timeout through the whole gateway: when it fires, and the error that the caller gets."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import NamedTuple

import pytest
from kit.exchanges import OVERSHOOT, unreachable
from kit.gateways import StartGateway
from kit.servers import Gateway, Upstream
from kit.wire import Answer, content, open_stream

pytestmark = pytest.mark.live

KEY = "key-time"
CLOCKS = {"connect": 0.2, "first_byte": 0.4, "first_token": 0.6, "idle": 0.3, "answer": 0.5, "total": 0.8}


@pytest.fixture(scope="module")
def timed(start_gateway: StartGateway, scripted: Upstream, tmp_path_factory) -> Iterator[Gateway]:
    """A gateway with an upstream with short timeouts and one with ordinary timeouts."""
    with unreachable() as nowhere:
        lines = ['default_upstream = "quick"', "circuit_breaker_max_failures = 1000"]
        for name, url in (("quick", scripted.url), ("nowhere", nowhere)):
            lines += [f"[upstreams.{name}]", f'url = "{url}"']
            lines += [f"{clock}_seconds = {seconds}" for clock, seconds in CLOCKS.items()]
        lines += ["[upstreams.patient]", f'url = "{scripted.url}"']
        lines += [f'[keys.time]\nsha256 = "{sha256(KEY.encode()).hexdigest()}"', "rate_limit_per_minute = 0"]
        file = tmp_path_factory.mktemp("config") / "gateway.toml"
        file.write_text("\n".join(lines))
        file.chmod(0o600)
        yield start_gateway(KEY, GATEWAY_CONFIG=str(file), GATEWAY_WORKERS="1", GATEWAY_THREADS="32")


class Case(NamedTuple):
    """A call, the timeout that fires for it and after how long, and the caller's timeout header."""

    model: str
    clock: str
    seconds: float
    stream: bool = False
    header: str = ""

    def __str__(self) -> str:
        return f"{self.model} {'streamed' if self.stream else 'whole'} {self.header}".strip()


SILENCES = ["never", "head-drip", "head-only", "murmur", "stall,after=-1", "drip,pause=0.05"]

CASES = [
    Case("nowhere/ok", "connect", CLOCKS["connect"]),
    Case("nowhere/ok", "connect", CLOCKS["connect"], stream=True),
    Case("quick/never", "answer", CLOCKS["answer"]),
    Case("quick/never", "first_byte", CLOCKS["first_byte"], stream=True),
    Case("quick/head-drip", "answer", CLOCKS["answer"]),
    Case("quick/head-drip", "first_byte", CLOCKS["first_byte"], stream=True),
    Case("quick/murmur", "first_token", CLOCKS["first_token"], stream=True),
    Case("quick/head-only", "answer", CLOCKS["answer"]),
    Case("quick/head-only", "idle", CLOCKS["idle"], stream=True),
    Case("quick/stall,after=-1", "idle", CLOCKS["idle"], stream=True),
    Case("quick/murmur", "answer", CLOCKS["answer"]),
    Case("quick/drip,pause=0.05", "answer", CLOCKS["answer"]),
    *(Case(f"patient/{one}", "total", 0.5, header="x-request-timeout") for one in SILENCES),
    *(Case(f"patient/{one}", "total", 0.5, stream=True, header="x-request-timeout") for one in SILENCES),
    Case("patient/never", "total", 1.5, header="x-stainless-read-timeout"),
]


def ask(gateway: Gateway, case: Case) -> tuple[Answer, float]:
    # We wait a second longer than an SDK's own timeout, so that it fires first.
    told = case.seconds - (case.header == "x-stainless-read-timeout")
    headers = {case.header.replace("-", "_"): str(told)} if case.header else {}
    began = time.monotonic()
    answer = gateway.chat(case.model, stream=case.stream, headers=headers)
    return answer, time.monotonic() - began


@pytest.fixture(scope="module")
def answers(timed: Gateway) -> dict[Case, tuple[Answer, float]]:
    """All cases, several at a time: most of their time is waiting."""
    ask(timed, Case("patient/ok", "", 0))
    with ThreadPoolExecutor(8) as pool:
        return dict(zip(CASES, pool.map(lambda case: ask(timed, case), CASES), strict=True))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_504_names_the_timeout(answers: dict[Case, tuple[Answer, float]], case: Case):
    answer, seconds = answers[case]
    assert (answer.status, answer.error["code"]) == (504, "upstream_timeout"), answer
    assert f"clock '{case.clock}'" in answer.error["message"]
    assert f"{case.seconds:.4g} s" in answer.error["message"]
    assert answer.headers["x-gateway-error-origin"] == ("gateway" if case.header else "upstream")
    assert case.seconds - 0.01 <= seconds < case.seconds + OVERSHOOT


@pytest.mark.parametrize("case", [case for case in CASES if case.header], ids=str)
def test_the_callers_own_deadline_counts_against_no_upstream(timed: Gateway, answers, case: Case):
    logged = timed.logged(answers[case][0].headers["x-request-id"])
    assert (logged["status"], logged["outcome"], logged["upstream"]) == (504, "ignored", "patient")


def test_the_breaker_counts_no_callers_deadline(timed: Gateway, answers):
    found = timed.ask("GET", "/v1/circuit-breakers").json["data"]
    states = {one["upstream"]: (one["state"], one["failures"]) for one in found}
    assert states["patient"] == ("CLOSED", 0)
    assert states["quick"][1] > 0


def test_all_attempts_share_one_deadline(timed: Gateway, scripted: Upstream):
    """The first upstream uses most of the time, and the second gets only the rest."""
    began = time.monotonic()
    answer = timed.chat(
        "patient/never", fallbacks=["quick/never", "patient/never,b"], headers={"x_request_timeout": "0.6"}
    )
    assert (answer.status, answer.error["code"]) == (504, "upstream_timeout")
    assert time.monotonic() - began < 0.6 + OVERSHOOT


@pytest.mark.parametrize("value", ["soon", "0", "-1", "nan", "1,1"])
def test_an_invalid_deadline_is_ignored(timed: Gateway, value):
    headers = {"x_request_timeout": value, "x_stainless_read_timeout": value}
    assert timed.chat("patient/ok,first=0.1", headers=headers).status == 200


def streamed(gateway: Gateway, model: str, header: str) -> list[str]:
    """The data of a stream whose caller sends that line."""
    name, _, value = header.partition(": ")
    answer = gateway.chat(model, stream=True, headers={name.replace("-", "_"): value})
    events = answer.body.decode().strip().split("\n\n")
    return [event.removeprefix("data: ") for event in events]


def test_a_stream_may_take_longer_than_each_of_its_silences(timed: Gateway):
    data = streamed(timed, "patient/ok,tokens=8,pause=0.05", "x-stainless-read-timeout: 0.2")
    assert data[-1] == "[DONE]"
    assert content(data).endswith("tok7 ")


def test_a_stream_over_its_deadline_ends_in_an_error(timed: Gateway):
    began = time.monotonic()
    data = streamed(timed, "patient/ok,tokens=500,pause=0.02", "x-request-timeout: 0.5")
    assert time.monotonic() - began < 0.5 + OVERSHOOT
    error = json.loads(data[-1])["error"]
    assert error["code"] == "upstream_timeout"
    assert "0.5 s" in error["message"]
    assert "clock 'total'" in error["message"]


def test_a_silent_stream_names_its_timeout(timed: Gateway):
    with open_stream(timed.port, KEY, "quick/stall,after=2") as stream:
        data = stream.data()
    assert "0.3 s (clock 'idle')" in json.loads(data[-1])["error"]["message"]
