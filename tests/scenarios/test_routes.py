"""Tests routes on a running gateway: fallback, resume, buffering, and the headers that name the upstream."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest
from kit.gateways import StartGateway
from kit.servers import Gateway, Upstream
from kit.wire import open_stream

pytestmark = pytest.mark.live

KEY = "key-routes"


@pytest.fixture(scope="module")
def routed(
    start_gateway: StartGateway, scripted: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Gateway:
    file: Path = tmp_path_factory.mktemp("routes") / "gateway.toml"
    file.write_text(
        f"""
rate_limit_per_minute = 0
circuit_breaker_max_failures = 1000
[keys.routes]
sha256 = "{sha256(KEY.encode()).hexdigest()}"
[upstreams.scripted]
url = "{scripted.url}"
idle_seconds = 1
[upstreams.breaks]
url = "mock://breaks?tokens=6&cut_after=3"
[upstreams.well]
url = "mock://well?tokens=4"
continues = "plain"
[upstreams.second]
url = "mock://second"
[models.down]
upstream = "scripted"
model = "status,code=503"
fallbacks = ["second"]
[models.breaking]
upstream = "breaks"
[models.seamless]
upstream = "breaks"
fallbacks = ["well"]
[models.held]
upstream = "breaks"
stream = "whole"
fallbacks = ["second"]
[models.shared]
tiers = [["well", "second"]]
"""
    )
    return start_gateway(KEY, GATEWAY_CONFIG=str(file))


def stream(gateway: Gateway, model: str, **more: object) -> tuple[dict[str, str], list[str]]:
    """The head and the events of a stream."""
    with open_stream(gateway.port, KEY, model, **more) as opened:
        assert opened.status == 200
        return opened.headers, opened.data()


def test_a_broken_stream_ends_with_an_error(routed: Gateway) -> None:
    _, events = stream(routed, "breaking")
    assert '"upstream_stream_cut"' in events[-1]
    assert "[DONE]" not in events


def test_a_dead_upstream_is_not_noticed(routed: Gateway) -> None:
    answer = routed.chat("down")
    assert (answer.status, answer.headers["x-gateway-upstream"]) == (200, "second")
    assert answer.headers["x-gateway-retries"] == "1"
    first, second = answer.headers["x-gateway-attempts"].split(", ")
    assert first.startswith("scripted:503:")
    assert second.startswith("second:200:")


def test_a_caller_may_forbid_fallbacks_or_send_its_own(routed: Gateway) -> None:
    assert routed.chat("down", fallbacks=[]).status == 502
    assert routed.chat("down", fallbacks=False).status == 502
    assert routed.chat("down", fallbacks=["well"]).headers["x-gateway-upstream"] == "well"
    assert routed.chat("down", fallbacks="well").status == 400


def test_a_broken_stream_is_resumed_by_another_upstream(routed: Gateway) -> None:
    _, events = stream(routed, "seamless")
    assert events[-1] == "[DONE]"
    assert not any('"error"' in event for event in events)
    assert len({event.split('"id":"')[1].split('"')[0] for event in events[:-1]}) == 1


def test_a_buffering_route_fails_over_in_the_middle_of_an_answer(routed: Gateway) -> None:
    headers, events = stream(routed, "held")
    assert headers["x-gateway-upstream"] == "second"
    assert events[-1] == "[DONE]"
    assert not any('"error"' in event for event in events)


def test_round_robin_spans_the_workers(routed: Gateway) -> None:
    asked = [routed.chat("shared").headers["x-gateway-upstream"] for _ in range(8)]
    assert sorted(asked) == ["second"] * 4 + ["well"] * 4


def test_a_route_is_shown(routed: Gateway) -> None:
    shown = routed.ask("GET", "/v1/routes/down").json
    assert [(one["upstream"], one["reason"]) for one in shown["candidates"]] == [
        ("scripted", "chosen"),
        ("second", "next"),
    ]
