"""Runs two gateways, as on two machines, that share a real Redis, and takes Redis away."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from kit.gateways import StartGateway
from kit.servers import Gateway
from kit.waiting import until

sys.path.insert(0, str(Path(__file__).parents[1]))
from kit.stores import RedisServer

pytestmark = pytest.mark.live

LIMIT = 60


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def machines(start_gateway: StartGateway, redis: RedisServer) -> list[Gateway]:
    settings = {
        "GATEWAY_STATE": redis.url,
        "GATEWAY_MACHINES": "2",
        "GATEWAY_RATE_LIMIT_PER_MINUTE": str(LIMIT),
    }
    return [start_gateway("first,second,third,fourth,fifth,sixth", **settings) for _ in range(2)]


def burst(gateways: list[Gateway], key: str, times: int) -> Counter[int]:
    """The statuses of a number of calls, spread over the gateways."""
    with ThreadPoolExecutor(8) as pool:
        ask = [gateways[number % len(gateways)] for number in range(times)]
        answers = pool.map(lambda gateway: gateway.chat("mock", headers={"x_api_key": key}), ask)
        return Counter(answer.status for answer in answers)


def undisturbed_burst(gateways: list[Gateway], keys: list[str]) -> Counter[int]:
    """The statuses of the first burst in which no worker answered from its own memory.

    On a busy machine a worker may still wait for its next look at Redis, or Redis may answer late."""
    for key in keys:
        before = local_answers(gateways)
        statuses = burst(gateways, key, 2 * LIMIT)
        if local_answers(gateways) == before:
            return statuses
    pytest.fail("in each burst some worker answered from its own memory")


def local_answers(gateways: list[Gateway]) -> float:
    """How often local state answered for Redis so far."""
    lines = [
        line for gateway in gateways for line in gateway.ask("GET", "/metrics").body.decode().splitlines()
    ]
    return sum(float(line.split()[-1]) for line in lines if line.startswith("gateway_store_fallbacks_total"))


def degraded(gateway: Gateway) -> bool:
    state = gateway.ask("GET", "/v1/circuit-breakers", x_api_key="third").json["state"]
    assert state["store"] == "redis"
    return bool(state["degraded"])


def whole(gateway: Gateway) -> bool:
    """Whether no worker reports that it is degraded. So many concurrent calls reach all workers."""
    with ThreadPoolExecutor(8) as pool:
        return not any(pool.map(degraded, [gateway] * 24))


def test_two_machines_admit_exactly_the_limit_together(machines: list[Gateway]) -> None:
    assert burst(machines, "first", 2 * LIMIT) == {200: LIMIT, 429: LIMIT}


def test_without_redis_each_machine_admits_its_share(machines: list[Gateway], redis: RedisServer) -> None:
    redis.freeze()
    try:
        began = time.monotonic()
        assert machines[0].chat("mock", headers={"x_api_key": "second"}).status == 200
        assert time.monotonic() - began < 3  # each worker waits 100 ms once
        for machine in machines:
            assert until(lambda machine=machine: degraded(machine), 5)
            seen = burst([machine], "second", LIMIT)
            assert set(seen) == {200, 429}
            assert abs(seen[200] - LIMIT // 2) <= 3, (
                seen
            )  # the first call of each worker may count either way
        assert burst(machines, "third", 4) == {200: 4}
    finally:
        redis.thaw()
    for machine in machines:
        assert until(lambda machine=machine: whole(machine), 6)
        assert "state is degraded" in machine.stderr
        assert "Traceback" not in machine.stderr
    counted = machines[0].chat("mock", headers={"x_api_key": "third"})
    assert (counted.status, counted.headers["x-ratelimit-limit-requests"]) == (200, str(LIMIT))


def test_a_restarted_redis_causes_no_error(machines: list[Gateway], redis: RedisServer) -> None:
    redis.kill()
    assert machines[0].chat("mock", headers={"x_api_key": "third"}).status == 200
    redis.start()
    for machine in machines:
        assert until(lambda machine=machine: whole(machine), 6)
    # Keys that have not been used: of the others each machine remembers what Redis has forgotten.
    assert undisturbed_burst(machines, ["fourth", "fifth", "sixth"]) == {200: LIMIT, 429: LIMIT}
