"""Tests the circuit breaker over two workers: it opens, refuses, probes once and closes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from kit.servers import Gateway, Upstream
from kit.waiting import until
from kit.wire import Answer, open_stream

pytestmark = pytest.mark.live

FAILING = "status,code=502"


def status(gateway: Gateway, name: str) -> dict[str, Any]:
    data = gateway.ask("GET", "/v1/circuit-breakers").json["data"]
    return next(item for item in data if item["upstream"] == name)


def at_once(gateway: Gateway, model: str, count: int) -> list[Answer]:
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(gateway.chat, [model] * count))


def opened(gateway: Gateway, name: str) -> None:
    """Make the breaker of that upstream open."""
    assert [gateway.chat(f"{name}/{FAILING}").status for _ in range(3)] == [502] * 3
    assert status(gateway, name)["state"] == "OPEN"


def may_be_tried(gateway: Gateway, name: str) -> None:
    """Wait until the breaker of that upstream would let a probe through."""
    assert until(lambda: status(gateway, name)["retry_after"] is None, 5)


@pytest.fixture
def name(strict: Gateway, upstream: Upstream, alias) -> str:
    """An upstream of the strict gateway (three failures, one second) whose breaker is untouched."""
    name = alias()
    before = {"upstream": name, "state": "CLOSED", "failures": 0, "retry_after": None}
    assert status(strict, name) == before
    return name


def test_the_breaker_opens_after_max_failures_and_refuses_all_calls(
    strict: Gateway, upstream: Upstream, name
):
    opened(strict, name)
    for answer in at_once(strict, f"{name}/ok", 24):
        assert (answer.status, answer.error["code"]) == (503, "upstream_unavailable")
        assert answer.error["type"] == "server_error"
        assert answer.headers["retry-after"] == "1"
        assert answer.headers["x-gateway-error-origin"] == "gateway"
        assert answer.headers["x-gateway-upstream"] == name
    assert len(upstream.requests()) == 3


def test_both_workers_show_the_breaker_open(strict: Gateway, name):
    opened(strict, name)
    seen = [status(strict, name) for _ in range(12)]
    assert {item["state"] for item in seen} == {"OPEN"}
    assert {item["failures"] for item in seen} == {3}
    assert all(0 < item["retry_after"] <= 1 for item in seen)


def test_one_probe_passes_and_its_success_closes_the_breaker(strict: Gateway, upstream: Upstream, name):
    opened(strict, name)
    may_be_tried(strict, name)
    upstream.reset()
    answers = at_once(strict, f"{name}/ok,first=0.4", 16)
    assert sorted(answer.status for answer in answers) == [200] + [503] * 15
    assert len(upstream.requests()) == 1
    assert status(strict, name)["state"] == "CLOSED"
    assert [answer.status for answer in at_once(strict, f"{name}/ok", 8)] == [200] * 8


def test_a_failed_probe_opens_the_breaker_again(strict: Gateway, upstream: Upstream, name):
    opened(strict, name)
    may_be_tried(strict, name)
    assert strict.chat(f"{name}/{FAILING}").status == 502
    assert strict.chat(f"{name}/ok").status == 503
    assert status(strict, name)["state"] == "OPEN"
    assert len(upstream.requests()) == 4


def test_a_probe_whose_caller_leaves_does_not_block_the_next(strict: Gateway, upstream: Upstream, name):
    opened(strict, name)
    may_be_tried(strict, name)
    with open_stream(strict.port, strict.key, f"{name}/ok,tokens=200,pause=0.02") as stream:
        next(stream.events())
        assert status(strict, name)["state"] == "HALF_OPEN"
        assert strict.chat(f"{name}/ok").status == 503
    assert until(lambda: upstream.last()["ended"], 5) == "peer left"
    assert until(lambda: strict.chat(f"{name}/ok").status == 200, 1)
    assert status(strict, name)["state"] == "CLOSED"


def test_only_consecutive_failures_count(strict: Gateway, name):
    for behaviour in (FAILING, FAILING, "ok", FAILING, FAILING):
        strict.chat(f"{name}/{behaviour}")
    assert (status(strict, name)["state"], status(strict, name)["failures"]) == ("CLOSED", 2)


@pytest.mark.parametrize("behaviour", ["status,code=400", "status,code=404", "status,code=401"])
def test_refusals_are_not_failures(strict: Gateway, name, behaviour):
    for _ in range(5):
        strict.chat(f"{name}/{behaviour}")
    assert (status(strict, name)["state"], status(strict, name)["failures"]) == ("CLOSED", 0)


def test_a_refused_credential_is_logged_once_by_all_workers(strict: Gateway, name):
    assert [answer.status for answer in at_once(strict, f"{name}/status,code=401", 12)] == [502] * 12
    assert status(strict, name)["credential_refused"] is True
    lines = [
        line for line in strict.stderr.splitlines() if f"'{name}' refused the gateway's credential" in line
    ]
    assert ["(status 401)" in line for line in lines] == [True]
    assert strict.chat(f"{name}/ok").status == 200
    assert "credential_refused" not in status(strict, name)


def test_a_failure_rate_of_half_opens_the_breaker(strict: Gateway, name):
    mixed = [f"{name}/{FAILING}", f"{name}/ok"] * 10
    assert {strict.chat(model).status for model in mixed[:19]} == {502, 200}
    assert status(strict, name)["state"] == "CLOSED"
    strict.chat(mixed[19])
    assert status(strict, name)["state"] == "OPEN"


@pytest.mark.parametrize("behaviour", ["hang-up", "broken-json", "error-200", "html", "cut"])
def test_every_invalid_answer_is_a_failure(strict: Gateway, name, behaviour):
    for _ in range(3):
        assert strict.chat(f"{name}/{behaviour}").status == 502
    assert status(strict, name)["state"] == "OPEN"


def test_a_stream_is_counted_at_its_end(strict: Gateway, name):
    for failures in range(1, 4):
        with open_stream(strict.port, strict.key, f"{name}/cut,after=2,pause=0.05") as stream:
            assert stream.status == 200
            stream.data()
        # A moment later: another thread settles a stream than the one that sends it.
        assert until(lambda failures=failures: status(strict, name)["failures"] == failures, 2)
    assert status(strict, name)["state"] == "OPEN"


def test_a_stream_that_ends_well_clears_the_count(strict: Gateway, name):
    strict.chat(f"{name}/{FAILING}")
    with open_stream(strict.port, strict.key, f"{name}/ok,pause=0.05") as stream:
        next(stream.events())
        assert status(strict, name)["failures"] == 1
        stream.data()
    assert until(lambda: status(strict, name)["failures"] == 0, 2)


def test_a_caller_that_leaves_is_not_counted_against_the_upstream(strict: Gateway, upstream: Upstream, name):
    strict.chat(f"{name}/{FAILING}")
    for _ in range(4):
        with open_stream(strict.port, strict.key, f"{name}/ok,tokens=200,pause=0.02") as stream:
            next(stream.events())
    assert until(lambda: all(entry["ended"] for entry in upstream.requests()), 5)
    assert (status(strict, name)["state"], status(strict, name)["failures"]) == ("CLOSED", 1)


def test_each_upstream_has_its_own_breaker(strict: Gateway, name):
    opened(strict, name)
    assert strict.chat("fast").status == 200
