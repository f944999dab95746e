"""Tests ``explain``: which upstreams a call would use, and why."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient
from kit.calls import AUTH, make_call, make_settings, single_candidate

from flask_gateway import create_app
from flask_gateway.cli.main import main
from flask_gateway.config.schema import ModelSettings, UpstreamSettings
from flask_gateway.model.call import Outcome
from flask_gateway.model.errors import UpstreamThrottled, Verdict
from flask_gateway.state.memory import MemoryStore


@pytest.fixture
def routed(store: MemoryStore) -> Any:
    upstreams = tuple(
        UpstreamSettings(name=name, url="mock://local", max_in_flight=1 if name == "full" else 0)
        for name in ("sick", "paused", "full", "denied", "well", "spare")
    )
    tiers = tuple(single_candidate(upstream.name) for upstream in upstreams)
    settings = make_settings(upstreams=upstreams, models=(ModelSettings(name="fast", tiers=tiers),))
    return create_app(settings, store)


def test_every_candidate_has_its_reason(routed: Any) -> None:
    gateway = routed.extensions["gateway"]
    breakers = {(breaker.upstream, breaker.model): breaker for breaker in gateway.breakers}
    for _ in range(5):
        breakers["sick", "m"].admit(make_call()).settle(Outcome(Verdict.FAILURE))
    pause = UpstreamThrottled("slow", status=429, error_object={}, retry_after=9)
    breakers["paused", "m"].admit(make_call()).settle(Outcome(Verdict.THROTTLED, error=pause))
    breakers["denied", "m"].admit(make_call()).settle(Outcome(Verdict.CREDENTIAL_REFUSED))
    gateway.candidates._leases.acquire("slots:upstream:full", 1)
    client: FlaskClient = routed.test_client()
    shown = client.get("/v1/routes/fast", headers=AUTH).json
    assert [(c["upstream"], c["reason"]) for c in shown["candidates"]] == [  # type: ignore[index]
        ("sick", "open"),
        ("paused", "cooling"),
        ("full", "full"),
        ("denied", "credential refused"),
        ("well", "chosen"),
        ("spare", "next"),
    ]
    answer = client.post(
        "/v1/chat/completions", json={"model": "fast", "messages": [{"role": "user"}]}, headers=AUTH
    )
    assert answer.headers["x-gateway-upstream"] == "well"


def test_a_model_that_the_key_may_not_call_is_marked(routed: Any) -> None:
    client: FlaskClient = routed.test_client()
    shown = client.get("/v1/routes/fast", headers={"Authorization": "Bearer other-key"}).json
    assert {c["reason"] for c in shown["candidates"]} == {"not allowed"}  # type: ignore[index]


def test_the_command_explains_by_the_settings(capsys: pytest.CaptureFixture[str]) -> None:
    environ = {"GATEWAY_UPSTREAMS": "a=mock://a;b=mock://b", "GATEWAY_FALLBACKS": "a=b/x"}
    assert main(["explain", "a"], environ) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == ["tier 1  a  a  chosen", "tier 2  b  x  next"]
    assert "--url" in said[2]
    assert main(["explain", "zzz"], environ) == 1
    assert "does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["ftp://x", "http://127.0.0.1:9"])
def test_the_command_says_why_it_cannot(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "a", "--url", url], {}) == 1
    assert capsys.readouterr().err.startswith("flask-gateway: ")
