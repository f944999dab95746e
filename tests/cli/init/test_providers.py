"""Tests the providers that the keys in the environment name."""

from __future__ import annotations

from typing import Any

import pytest

from flask_gateway.cli.init.providers import PROVIDERS, keys_in
from flask_gateway.cli.main import main
from flask_gateway.config.load import load
from flask_gateway.config.upstream_url import base_url

PLANTED = "sk-planted-secret-of-a-provider"


@pytest.mark.parametrize(
    "environ",
    [
        {"OPENAI_API_KEY": ""},
        {"OPENAI_API_KEY": "two words"},
        {"OPENAI_API_KEY": PLANTED, "OPENAI_BASE_URL": "http://127.0.0.1:8000/v1"},  # this may be the gateway
        {"OPENAI_API_KEY": PLANTED, "OPENAI_BASE_URL": "http://localhost:1"},
        {"OPENAI_API_KEY": PLANTED, "OPENAI_BASE_URL": "nonsense"},
    ],
)
def test_keys_that_are_not_for_a_provider(environ: dict[str, str]) -> None:
    assert list(keys_in(environ)) == []


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)
def test_each_provider_gives_valid_settings(provider: Any) -> None:
    assert main(["init", "--yes"], {provider.variables[-1]: PLANTED}) == 0
    (upstream,) = load({"GATEWAY_CONFIG": "gateway.toml"}).upstreams
    assert (upstream.name, upstream.url) == (provider.name, base_url(provider.url))
    assert upstream.kind == (provider.kind or "openai")
    assert upstream.api_key is not None
    assert upstream.api_key.reveal() == PLANTED
    assert PLANTED not in repr(list(keys_in({provider.variables[0]: PLANTED})))
