"""Tests the description of settings: every value with its source, no secret, and what a reload changed."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from kit.calls import make_settings

from flask_gateway.config.describe import changed, describe
from flask_gateway.config.load import resolve
from flask_gateway.config.schema import MASK, KeySettings

Toml = Callable[[str], str]
SECRET = "sk-a-secret-of-a-test"


def shown(environ: dict[str, str]) -> list[str]:
    return list(describe(resolve(environ)))


def test_each_line_says_where_its_value_comes_from(toml: Toml) -> None:
    path = toml("rate_limit_per_minute = 7\n[upstreams.one]\nurl = 'http://127.0.0.1:1'\n")
    lines = shown({"GATEWAY_CONFIG": path, "GATEWAY_MAX_CONCURRENT_PER_KEY": "3"})
    assert "rate_limit_per_minute = 7  (from file)" in lines
    assert "max_concurrent_per_key = 3  (from environment)" in lines
    assert "unlisted_models = *  (from default)" in lines
    assert "upstreams.one = http://127.0.0.1:1/v1/chat/completions  (from file)" in lines


def test_no_line_has_a_secret() -> None:
    lines = shown(
        {
            "GATEWAY_API_KEYS": SECRET,
            "GATEWAY_METRICS_KEY": SECRET + "-2",
            "GATEWAY_STATE": f"redis://:{SECRET}@127.0.0.1/0",
            "GATEWAY_UPSTREAMS": "a=http://127.0.0.1:1",
            "GATEWAY_UPSTREAM_A_API_KEY": SECRET,
        }
    )
    assert not [line for line in lines if SECRET in line]
    assert f"upstreams.a.api_key = {MASK}  (from environment)" in lines
    assert f"metrics_key = {MASK}  (from environment)" in lines


def test_a_model_is_described_on_one_line(toml: Toml) -> None:
    path = toml(
        "[upstreams]\na.url = 'http://127.0.0.1:1'\nb.url = 'http://127.0.0.1:2'\n"
        "[models.m]\naliases = ['n']\nstream = 'whole'\n"
        "tiers = [[{ upstream = 'a', weight = 2, max_output_tokens = 9 }, { upstream = 'b' }], "
        "[{ upstream = 'b', model = 'x' }]]\n"
    )
    (line,) = [line for line in shown({"GATEWAY_CONFIG": path}) if line.startswith("models.m ")]
    assert "m at a (weight 2; at most 9 tokens) or m at b, then x at b, round_robin" in line
    assert "streams whole, also called n" in line


def test_a_reload_names_what_it_changed() -> None:
    one, two = (KeySettings(id=name, digest=name.encode()) for name in ("one", "two"))
    before = make_settings(keys=(one, two))
    assert list(changed(before, before)) == []
    assert list(changed(before, make_settings(keys=(one,)))) == ["keys.two"]
    assert list(changed(before, make_settings(keys=(two, one)))) == ["keys"]
    after = msgspec.structs.replace(before, rate_limit_per_minute=before.rate_limit_per_minute + 1)
    assert list(changed(before, after)) == ["rate_limit_per_minute"]
