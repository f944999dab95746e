"""Tests the routes of the settings: aliases, body fields, and which upstream is an account at a provider."""

from __future__ import annotations

from kit.calls import make_settings

from flask_gateway.app.configured_routes import configured_routes
from flask_gateway.config.schema import CandidateSettings, ModelSettings, Secret, UpstreamSettings

OPENAI = UpstreamSettings(name="openai", url="https://api.openai.com/v1", api_key=Secret("sk-of-a-test-1"))
LOCAL = UpstreamSettings(name="llama", url="http://127.0.0.1:1/v1", api_key=Secret("sk-of-a-test-1"))
OPEN = UpstreamSettings(name="open", url="https://up.test/v1")


def test_only_an_https_upstream_with_a_key_is_an_account_at_a_provider() -> None:
    routes = configured_routes(make_settings(upstreams=(OPENAI, LOCAL, OPEN), models=()))
    assert routes.listed() == {"llama": "llama", "open": "open"}


def test_a_model_is_found_by_all_its_names() -> None:
    candidate = CandidateSettings(upstream="llama", model="m1", set={"a": b"1"}, default={"b": b'"x"'})
    plain = CandidateSettings(upstream="openai", model="m2")
    model = ModelSettings(name="m", tiers=((candidate,), (plain,)), aliases=("n",))
    routes = configured_routes(make_settings(upstreams=(OPENAI, LOCAL), models=(model,)))
    assert routes.route("n") == routes.route("m")
    assert routes.name("n") == "m"
    (first,), (second,) = routes.route("m").tiers
    assert first.overrides is not None
    assert bytes(first.overrides.set["a"]) == b"1"
    assert bytes(first.overrides.default["b"]) == b'"x"'
    assert second.overrides is None


def test_fallbacks_are_tiers_by_name() -> None:
    chain = (CandidateSettings(upstream="llama", model="m1"),)
    routes = configured_routes(make_settings(upstreams=(LOCAL, OPEN), models=(), fallbacks={"open": chain}))
    assert [[target.model for target in tier] for tier in routes.route("open").tiers] == [["open"], ["m1"]]
