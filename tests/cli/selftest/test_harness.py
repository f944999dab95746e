"""Tests the harness: it uses the operator's settings, and leaves nothing behind."""

from __future__ import annotations

import json
import threading
from typing import Any

import msgspec
from kit.calls import make_settings

from flask_gateway.cli.selftest.client import ClientResponse, StreamEnd
from flask_gateway.cli.selftest.harness import RunOptions, rehearsed, route_of
from flask_gateway.cli.selftest.provider_answers import TOKENS, USAGE
from flask_gateway.cli.selftest.scenarios import SCENARIOS, Result
from flask_gateway.config.kinds import KINDS
from flask_gateway.config.schema import (
    CandidateSettings,
    ModelSettings,
    PluginSettings,
    Settings,
    Timeouts,
    UpstreamSettings,
)

FAST = 1 / 15
LEDGER = "primary:200:0.01s"


def play(scenario: str, settings: Settings | None = None, *, whole: bool = False) -> Result:
    found = next(one for one in SCENARIOS if one.id == scenario)
    return found.play(RunOptions(settings or make_settings(), "fast", ("llama",), FAST, whole))


def test_no_thread_and_no_socket_is_left() -> None:
    """Neither a thread of the gateway's server nor one of a provider, whatever they were doing."""
    before = {thread for thread in threading.enumerate() if thread.name != "reactor"}
    for scenario in ("S05", "S06", "S09"):
        play(scenario)
    assert {thread for thread in threading.enumerate() if thread.name != "reactor"} <= before


def test_it_uses_the_operators_settings() -> None:
    clocks = Timeouts(connect=1, first_byte=2, first_token=3, idle=4, total=60)
    upstreams = (
        UpstreamSettings(name="a", url="http://a.test/v1", clocks=clocks, max_in_flight=7),
        UpstreamSettings(name="b", url="http://b.test/v1"),
    )
    tiers = tuple((CandidateSettings(upstream=name, model="m"),) for name in ("a", "b"))
    models = (ModelSettings(name="chat", tiers=tiers, whole=True),)
    plugins = (PluginSettings(name="pii", use="kit.plugins:Admitting"),)
    settings = make_settings(
        upstreams=upstreams,
        models=models,
        circuit_breaker_max_failures=3,
        rate_limit_per_minute=9,
        plugins=plugins,
    )
    played = rehearsed(
        RunOptions(settings, "chat", route_of(settings, "chat"), 0.5),
        ("http://x.test/v1", "http://y.test/v1"),
        b"d",
    )
    primary, fallback = played.upstreams
    assert primary.clocks == Timeouts(connect=0.5, first_byte=1, first_token=1.5, idle=2, answer=60, total=30)
    assert (primary.url, primary.max_in_flight) == ("http://x.test/v1", 7)
    assert (fallback.url, fallback.clocks) == (
        "http://y.test/v1",
        Timeouts(connect=2.5, first_byte=5, first_token=7.5, idle=5, answer=60, total=300),
    )
    assert played.models[0].whole
    assert played.plugins == plugins
    assert (played.circuit_breaker_max_failures, played.circuit_breaker_reset_seconds) == (3, 15)
    assert (played.rate_limit_per_minute, played.state) == (0, "memory://")
    assert [key.id for key in played.keys] == ["selftest"]
    assert all(upstream.api_key is None for upstream in played.upstreams)


def test_timeouts_that_the_kind_brings_are_the_general_ones() -> None:
    brought = KINDS["anthropic"].clocks
    clocks = msgspec.structs.replace(Timeouts(), **{**brought, "idle": 33.0})
    upstream = UpstreamSettings(name="a", url="http://a.test/v1", kind="anthropic", clocks=clocks)
    settings = make_settings(upstreams=(upstream,), request_timeout_seconds=8.0)
    played = rehearsed(RunOptions(settings, "a", ("a",)), ("http://x.test/v1", "http://y.test/v1"), b"d")
    assert brought["first_byte"] > 30
    assert played.upstreams[0].clocks == msgspec.structs.replace(
        Timeouts.within(8.0, settings.answer_timeout_seconds), idle=33.0
    )


def whole(status: int = 200, seconds: float = 1.0, ledger: str = LEDGER, **fields: Any) -> ClientResponse:
    message = {"role": "assistant", "content": "".join(TOKENS)}
    said = {
        "model": "primary-model",
        "choices": [{"message": message, "finish_reason": "stop"}],
        "usage": USAGE["primary-model"],
    } | fields
    head = {"content-type": "application/json", "x-gateway-attempts": ledger}
    return ClientResponse(False, status, head, json.dumps(said).encode(), StreamEnd.WHOLE, seconds)
