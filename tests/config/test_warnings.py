"""Tests the warnings about settings that are valid but probably not intended."""

from __future__ import annotations

import pytest

from flask_gateway.config.load import load

BASE = {"GATEWAY_API_KEYS": "a-key-of-my-own-1"}


@pytest.mark.parametrize(
    ("environ", "warning"),
    [
        (
            {"GATEWAY_UPSTREAMS": "o=https://api.openai.com"},
            "upstream 'o' is on the public internet and has no key: set GATEWAY_UPSTREAM_O_API_KEY",
        ),
        (
            {"GATEWAY_UPSTREAMS": "a=http://h;b=http://i"},
            "there are 2 upstreams and no default, so a model that no rule places is refused: "
            "set GATEWAY_DEFAULT_UPSTREAM to one of a, b",
        ),
        (
            {"GATEWAY_UPSTREAMS": "m=mock://local", "GATEWAY_UPSTREAM_M_API_KEY": "k"},
            "GATEWAY_UPSTREAM_M_API_KEY has no effect: upstream 'm' is a mock",
        ),
        (
            {"GATEWAY_UPSTREAMS": "m=mock://local", "GATEWAY_API_KEYS": "shorter"},
            "has fewer than 16 characters and can be guessed: `openssl rand -hex 32` makes a good one",
        ),
    ],
)
def test_probably_unintended_settings_are_warned_about(environ: dict[str, str], warning: str) -> None:
    (found,) = load({**BASE, **environ}).warnings
    assert warning in found


@pytest.mark.parametrize(
    "url",
    [
        "https://vllm.internal",
        "https://10.0.0.1",
        "https://gpu",
        "http://api.openai.com",
        "https://box.lan:8443",
    ],
)
def test_an_upstream_in_a_private_network_needs_no_key(url: str) -> None:
    assert load({**BASE, "GATEWAY_UPSTREAMS": f"a={url}"}).warnings == ()
