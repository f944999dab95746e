"""Sets the machine's clock forward and back by an hour under a running gateway."""

from __future__ import annotations

from pathlib import Path

import pytest
from kit.gateways import KEY, StartGateway
from kit.servers import Upstream
from kit.shifted_clock import ShiftedClock
from kit.waiting import until

pytestmark = pytest.mark.live

HOUR = 3600


def test_no_breaker_limit_or_lease_changes_when_the_clock_is_set(
    start_gateway: StartGateway, upstream: Upstream, tmp_path: Path
) -> None:
    clock = ShiftedClock(tmp_path)
    gateway = start_gateway(
        f"{KEY},free",
        GATEWAY_WORKERS="1",
        GATEWAY_UPSTREAMS=f"scripted={upstream.url};mock=mock://local",
        GATEWAY_RATE_LIMIT_PER_MINUTE="5",
        GATEWAY_CIRCUIT_BREAKER_MAX_FAILURES="2",
        GATEWAY_CIRCUIT_BREAKER_RESET_SECONDS="6",
        **clock.environment,
    )
    before = gateway.chat("mock", headers={"x_api_key": KEY}).headers["date"]
    for _ in range(4):
        assert gateway.chat("mock", headers={"x_api_key": KEY}).status == 200
    for _ in range(2):
        assert gateway.chat("scripted/status,code=502", headers={"x_api_key": "free"}).status == 502
    for hours in (1, -1):
        clock.set(hours * HOUR)
        refused = gateway.chat("mock", headers={"x_api_key": KEY})
        assert refused.headers["date"][:22] != before[:22], "the clock was not set"
        assert (refused.status, refused.error["type"]) == (429, "requests")
        assert 40 <= int(refused.headers["retry-after"]) <= 60
        held = gateway.chat("scripted", headers={"x_api_key": "free"})
        assert (held.status, held.error["code"]) == (503, "upstream_unavailable")
        assert 1 <= int(held.headers["retry-after"]) <= 6
    # The probe is due by the monotonic clock, which cannot be set.
    status = gateway.ask("GET", "/v1/circuit-breakers", x_api_key="free").json["data"][0]
    assert until(
        lambda: (
            gateway.ask("GET", "/v1/circuit-breakers", x_api_key="free").json["data"][0]["retry_after"]
            is None
        ),
        status["retry_after"] + 1,
    )
    assert gateway.chat("scripted", headers={"x_api_key": "free"}).status == 200
