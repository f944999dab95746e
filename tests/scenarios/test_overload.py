"""Sends more calls than the gateway can hold: it refuses the excess at once, and no call queues."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from kit.gateways import KEY, UNLIMITED, StartGateway
from kit.load import Health, Seen, arrivals, call, in_turns, p99
from kit.servers import Gateway, Upstream
from kit.waiting import until
from kit.wire import open_stream

OTHER = "live-other-key"


def both_have_begun(gateway: Gateway, threads: int = 16) -> None:
    """Wait until both workers serve. Otherwise one of them would fill up alone."""
    figures = lambda: gateway.ask("GET", "/metrics", x_api_key="").body.decode()  # noqa: E731
    assert until(lambda: f"\ngateway_threads_limit {threads}.0" in figures())


@pytest.fixture(scope="module")
def small(start_gateway: StartGateway, scripted: Upstream) -> Gateway:
    """Two workers of eight threads each. Calls may hold six of them."""
    return start_gateway(
        GATEWAY_API_KEYS=f"{KEY},{OTHER}",
        GATEWAY_UPSTREAMS=f"one={scripted.url};two={scripted.url}",
        GATEWAY_DEFAULT_UPSTREAM="one",
        GATEWAY_THREADS="8",
        GATEWAY_RATE_LIMIT_PER_MINUTE="0",
        GATEWAY_CIRCUIT_BREAKER_MAX_FAILURES=UNLIMITED,
        GATEWAY_REQUEST_TIMEOUT_SECONDS="5",
        GATEWAY_ANSWER_TIMEOUT_SECONDS="5",
        GATEWAY_MAX_STREAMS="20",
    )


def ask(gateway: Gateway, model: str, key: str = KEY):
    began = time.monotonic()
    answer = gateway.chat(model, headers={"authorization": f"Bearer {key}"})
    return answer, time.monotonic() - began


@pytest.fixture(scope="module")
def alone(start_gateway: StartGateway, scripted: Upstream) -> Gateway:
    """The same with one key and one upstream, which may use the whole capacity."""
    return start_gateway(
        GATEWAY_UPSTREAMS=f"one={scripted.url}",
        GATEWAY_THREADS="8",
        GATEWAY_RATE_LIMIT_PER_MINUTE="0",
        GATEWAY_CIRCUIT_BREAKER_MAX_FAILURES=UNLIMITED,
        GATEWAY_REQUEST_TIMEOUT_SECONDS="5",
        GATEWAY_ANSWER_TIMEOUT_SECONDS="5",
    )


@pytest.fixture
def full(alone: Gateway, upstream: Upstream):
    """Calls hold the whole capacity for some seconds."""
    both_have_begun(alone)
    with ThreadPoolExecutor(24) as pool:
        held = [pool.submit(ask, alone, "one/ok,first=2.5") for _ in range(24)]
        until(lambda: len(upstream.requests()) >= 12)
        yield alone
    answers = [one.result() for one in held]
    served = [taken for answer, taken in answers if answer.status == 200]
    refused = [taken for answer, taken in answers if answer.status == 503]
    assert len(served) == 12
    assert len(served) + len(refused) == 24
    assert (
        max(refused) < 1.0
    )  # all arrive at once on two busy cores; the time of a single refusal is tested below


def test_excess_calls_are_refused_at_once_with_a_reason(full: Gateway):
    times = []
    for _ in range(10):
        answer, seconds = ask(full, "one/ok")
        assert answer.status == 503
        assert answer.error["code"] == "overloaded"
        assert answer.headers["retry-after"] == "1"
        assert answer.headers["x-gateway-error-origin"] == "gateway"
        times.append(seconds)
    assert sorted(times)[5] < 0.1


def test_health_and_metrics_answer_under_overload(full: Gateway):
    for path in ("/health", "/readyz", "/v1/circuit-breakers", "/v1/models"):
        began = time.monotonic()
        assert full.ask("GET", path).status == 200
        assert time.monotonic() - began < 2


def test_one_key_leaves_room_for_another(small: Gateway, upstream: Upstream):
    both_have_begun(small)
    with ThreadPoolExecutor(24) as pool:
        models = [f"{name}/ok,first=1.5" for name in ("one", "two")] * 10
        greedy = [pool.submit(ask, small, model) for model in models]
        until(lambda: len(upstream.requests()) >= 8)
        # Four calls of one key fill an upstream's share of a worker if all four name that upstream.
        assert 200 in [ask(small, f"{name}/ok", OTHER)[0].status for name in ("one", "two") * 2]
    # On a busy machine the last calls arrive when the first have ended, and some exceed their time.
    assert 4 <= sum(one.result()[0].status == 200 for one in greedy) < 20


def test_streams_have_their_own_ceiling(start_gateway: StartGateway, scripted: Upstream):
    gateway = start_gateway(
        GATEWAY_UPSTREAMS=f"one={scripted.url}", GATEWAY_WORKERS="1", GATEWAY_MAX_STREAMS="3"
    )
    model = "ok,tokens=200,pause=0.02"
    streams = [open_stream(gateway.port, KEY, model) for _ in range(3)]
    opened = [stream.__enter__() for stream in streams]
    for stream in opened:
        next(stream.events())
    with open_stream(gateway.port, KEY, model) as one_more:
        assert one_more.status == 503
    assert gateway.chat("ok").status == 200
    for stream in streams:
        stream.__exit__(None, None, None)

    def has_room() -> bool:
        with open_stream(gateway.port, KEY, "ok") as stream:
            return stream.status == 200

    assert until(has_room, 5)


def test_a_call_that_has_queued_for_too_long_is_not_begun(small: Gateway, upstream: Upstream):
    body = {"model": "ok", "messages": [{"role": "user", "content": "Hi"}]}
    path = "/v1/chat/completions"
    late = small.ask("POST", path, body, x_request_start=f"{time.time() - 3:.3f}")
    assert (late.status, late.error["code"]) == (503, "overloaded")
    assert not upstream.requests()
    assert small.ask("POST", path, body, x_request_start=f"t={time.time() - 0.1:.3f}").status == 200
    assert small.ask("POST", path, body, x_request_start="yesterday").status == 200


# ---------------------------------------------------------------- three times the capacity

#: Calls that wait for their upstream, and streams whose events are far apart. The load is made on the same
#: two cores, so what fills up must be threads and places, not the processor: 24 calls and 40 streams at once.
MIXED = [("call", "one/ok,first=1.2"), ("stream", "one/ok,tokens=20,pause=0.1")]
FULL = [MIXED[0]] * 24 + [MIXED[1]] * 40
#: The normal duration of such a call, and the duration of the load, seconds.
NORMAL, SECONDS = 1.7, 120


def served(seen: list[Seen], since: float, until: float) -> float:
    """Complete answers a second."""
    return sum(one.whole and since <= one.ended < until for one in seen) / (until - since)


@pytest.mark.soak
def test_three_times_the_capacity_is_served_at_capacity(start_gateway: StartGateway, scripted: Upstream):
    gateway = start_gateway(
        GATEWAY_UPSTREAMS=f"one={scripted.url}",
        GATEWAY_THREADS="16",
        GATEWAY_MAX_STREAMS="20",
        GATEWAY_RATE_LIMIT_PER_MINUTE="0",
        GATEWAY_CIRCUIT_BREAKER_MAX_FAILURES=UNLIMITED,
        GATEWAY_REQUEST_TIMEOUT_SECONDS="10",
        GATEWAY_ANSWER_TIMEOUT_SECONDS="10",
    )
    both_have_begun(gateway, 32)
    send = partial(call, gateway)
    # The capacity: as many callers as places. Each sends its next call after an answer.
    began = time.monotonic()
    capacity = served(in_turns(send, FULL, 22), began + 2, began + 22)
    print(f"\ncapacity {capacity:.1f}/s")

    began = time.monotonic()
    with Health(gateway) as health:
        crowd = arrivals(send, MIXED, 3 * capacity, SECONDS)
    goodput = served(crowd, began + 2, began + SECONDS)
    refused = [one for one in crowd if not one.whole]

    over, after = began + SECONDS, arrivals(send, MIXED, capacity / 2, 6)
    late = max((one.due - over for one in after if not one.whole or one.answered > NORMAL), default=0)
    refusal = p99([one.answered for one in refused])
    print(
        f"came {len(crowd) / SECONDS:.1f}/s, served {goodput / capacity:.1%} of the capacity, refused "
        f"{len(refused)}: p99 {1000 * refusal:.1f} ms; /health {len(health.times)} times: "
        f"p99 {1000 * p99(health.times):.1f} ms; normal after {late:.1f} s"
    )
    slow = Counter((one.kind, int(one.due - began)) for one in refused if one.answered > 0.1)
    print(f"refused after more than 100 ms, by kind and second: {dict(slow)}")
    assert goodput >= 0.9 * capacity
    assert {one.status for one in refused} == {503}
    assert refusal < 0.1
    assert not health.failures
    assert p99(health.times) < 0.1
    assert late < 5
