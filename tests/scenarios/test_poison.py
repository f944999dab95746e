"""Sends one key's failing calls to two workers: no good call of another key is refused because of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from typing import Any

import pytest
from kit.gateways import UNLIMITED, StartGateway
from kit.servers import Gateway, Upstream
from kit.wire import Answer

pytestmark = pytest.mark.live

#: Errors, silence, and a broken answer.
POISONS = ["status,code=500", "status,code=503", "never", "cut,after=1"]


@pytest.fixture(scope="module")
def attacked(start_gateway: StartGateway, scripted: Upstream) -> Gateway:
    upstreams = ";".join(f"up{number}={scripted.url}" for number in range(len(POISONS) + 2))
    return start_gateway(
        "good-key-0123456789,poison-key-0123456789",
        GATEWAY_UPSTREAMS=upstreams,
        GATEWAY_RATE_LIMIT_PER_MINUTE=UNLIMITED,
        GATEWAY_REQUEST_TIMEOUT_SECONDS="0.5",
    )


def as_key(name: str) -> dict[str, str]:
    return {"x_api_key": f"{name}-key-0123456789"}


def breaker(gateway: Gateway, upstream: str) -> dict[str, Any]:
    data = gateway.ask("GET", "/v1/circuit-breakers", **as_key("good")).json["data"]
    return next(one for one in data if one["upstream"] == upstream)


def poisoned(gateway: Gateway, model: str) -> Answer:
    return gateway.chat(model, stream=True, headers=as_key("poison"))


@pytest.mark.parametrize("number", range(len(POISONS)), ids=POISONS)
def test_no_good_call_of_another_key_is_refused(attacked: Gateway, upstream: Upstream, number: int) -> None:
    name, poison = f"up{number}", POISONS[number]
    with ThreadPoolExecutor(12) as pool:
        for _ in range(3):
            bad = [pool.submit(poisoned, attacked, f"{name}/{poison}") for _ in range(12)]
            good = [attacked.chat(f"{name}/ok", headers=as_key("good")).status for _ in range(10)]
            assert good == [200] * 10
            assert {one.result().status for one in bad} <= {200, 502, 503, 504}
            good = [attacked.chat(f"{name}/ok", headers=as_key("good")).status for _ in range(10)]
            assert good == [200] * 10
    # The failing calls meet an open circuit, and the page names the key that it is open for.
    refused = poisoned(attacked, f"{name}/{poison}")
    assert (refused.status, refused.error["code"]) == (503, "upstream_unavailable")
    assert "of this key" in refused.error["message"]
    assert (refused.headers["x-should-retry"], refused.headers["retry-after"]) == ("false", "5")
    seen = breaker(attacked, name)
    assert (seen["state"], seen["one_caller"], seen["others_well"]) == ("OPEN", True, True)


def test_an_upstream_that_fails_for_all_keys_is_opened_for_all(attacked: Gateway, upstream: Upstream) -> None:
    name, keys = f"up{len(POISONS)}", cycle(["good", "poison"])
    for _ in range(5):
        assert attacked.chat(f"{name}/status,code=502", headers=as_key(next(keys))).status == 502
    for key in ("good", "poison"):
        assert attacked.chat(f"{name}/ok", headers=as_key(key)).status == 503
    assert "one_caller" not in breaker(attacked, name)


def test_a_429_for_one_model_pauses_that_model_over_all_workers(
    attacked: Gateway, upstream: Upstream
) -> None:
    name = f"up{len(POISONS) + 1}"
    busy = f"{name}/status,code=429,after=30"
    assert attacked.chat(busy, headers=as_key("good")).status == 429
    for _ in range(8):
        paused = attacked.chat(busy, headers=as_key("poison"))
        assert (paused.status, paused.error["code"]) == (429, "upstream_rate_limited")
        assert attacked.chat(f"{name}/ok", headers=as_key("poison")).status == 200
    assert breaker(attacked, name)["paused_models"] == 1
