"""Prices in the file, and mistakes in them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flask_gateway.config.describe import describe
from flask_gateway.config.errors import ConfigError
from flask_gateway.config.load import load, resolve
from flask_gateway.model.price_override import PriceOverride

Toml = Callable[..., str]
TOP = """
[ledger]
data = "books"
[upstreams.up]
url = "https://up.test/v1"
prices = "openai"
"""


def test_prices_are_read(toml: Toml) -> None:
    text = """
    [prices."up/gpt-4o"]
    input = "2.50"
    output = 10
    per_request = "0.001"
    per_search = "0.01"
    discount = "0.10"
    from = 2026-12-01

    [prices]
    "up/own" = "free"

    [models.fast]
    upstream = "up"
    model = "m"
    price = { input = "1", output = "2" }

    [models.two]
    tiers = [["up", { upstream = "up", model = "x", price = "free" }]]
    """
    settings = load({"GATEWAY_CONFIG": toml(TOP + text)})
    rates = {"input": 2_500_000, "output": 10**7, "requests": 10**9, "searches": 10**10}
    begins = 1_796_083_200
    assert settings.prices["up/gpt-4o"] == PriceOverride(rates=rates, discount=100_000, begins=begins)
    assert settings.prices["up/own"] == PriceOverride(free=True)
    assert settings.upstreams[0].prices == "openai"
    fast, two = settings.models
    assert fast.tiers[0][0].price == PriceOverride(rates={"input": 10**6, "output": 2 * 10**6})
    assert [one.price for one in two.tiers[0]] == [None, PriceOverride(free=True)]
    told = "\n".join(describe(resolve({"GATEWAY_CONFIG": toml(TOP + text)})))
    assert "input 2.5, output 10, per_request 0.001" in told
    assert "discount 0.1, from 2026-12-01" in told
    assert "x at up (price free)" in told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('"up/m" = { input = 2.5 }', "write it in quotes"),
        ('"up/m" = { input = "-1" }', "input in US dollars"),
        ('"up/m" = { inputs = "1" }', "input"),
        ('"up/m" = {}', "expected"),
        ('"up/m" = { discount = "0" }', "names no price"),
        ('"up/m" = { discount = "1.5" }', "a discount from"),
        ('"up/m" = { discount = 0.1 }', "a discount from"),
        ('"up/m" = { input = "1", from = "soon" }', "2026-12-01"),
        ('"up/m" = "cheap"', "free"),
        ('"up" = "free"', "such as"),
        ('"upp/m" = "free"', "up"),
    ],
)
def test_mistakes_in_prices_are_named(toml: Toml, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        load({"GATEWAY_CONFIG": toml(f"{TOP}[prices]\n{text}\n")})
    assert told in "\n".join(error.value.lines())


@pytest.mark.parametrize(
    "text",
    [
        '[upstreams.up]\nurl = "https://up.test/v1"\nprices = "openai"',
        '[upstreams.up]\nurl = "https://up.test/v1"\n[prices]\n"up/m" = "free"',
        '[upstreams.up]\nurl = "https://up.test/v1"\n[models.m]\nupstream = "up"\nprice = "free"',
    ],
)
def test_prices_without_a_ledger_are_refused(toml: Toml, text: str) -> None:
    with pytest.raises(ConfigError) as error:
        load({"GATEWAY_CONFIG": toml(text)})
    assert "set data in [ledger]" in "\n".join(error.value.lines())
