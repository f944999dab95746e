"""Prices are found by exact names, overrides first, and an unknown model has none."""

from __future__ import annotations

import pytest

from flask_gateway.pricing.rates import FREE, ModelPrice, Period, Rates
from flask_gateway.pricing.table import Prices, PriceTable, Provider, decode, shipped

PERIOD = (Period(Rates(input=1000)),)
OTHER = (Period(Rates(input=2000)),)


def table(**models: tuple[Period, ...] | str) -> PriceTable:
    return PriceTable("test", "2026-11-27", {"acme": Provider(r"https://api\.acme\.com", models)})


@pytest.mark.parametrize(
    "model", ["gpt-4o-mini", "GPT-4o-mini", "gpt-4o-mini-2024-07-18", "gpt-4o-mini-20990101"]
)
def test_a_name_is_found_with_and_without_its_date(model: str) -> None:
    assert shipped().find("openai", model) == shipped().find("openai", "gpt-4o-mini") is not None


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("anthropic", "claude-haiku-4-5-pro"),
        ("deepseek", "deepseek-chat-v9"),
        ("openai", "gpt-4o-mini-2024-07-18-preview"),
        ("openai", "gpt-4o-mini-2024-07"),
        ("openai", "ft:gpt-4o-mini:org:x"),
        ("openai", ""),
        ("nobody", "gpt-4o-mini"),
    ],
)
def test_a_name_that_only_begins_alike_has_no_price(provider: str, model: str) -> None:
    assert shipped().find(provider, model) is None


def test_a_provider_asks_those_it_is_like() -> None:
    assert shipped().find("azure", "gpt-4o") == shipped().find("openai", "gpt-4o") is not None


@pytest.mark.parametrize(
    ("url", "provider"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://API.anthropic.com", "anthropic"),
        ("https://generativelanguage.googleapis.com/v1beta/openai", "google"),
        ("https://team.openai.azure.com/openai/v1", "azure"),
        ("https://bedrock-runtime.eu-west-1.amazonaws.com", "aws"),
        ("http://127.0.0.1:11434/v1", None),
        ("mock://", None),
        ("https://evil.example/?https://api.openai.com/v1", None),
    ],
)
def test_the_provider_of_a_url(url: str, provider: str | None) -> None:
    assert shipped().provider_of(url) == provider


def test_every_alias_of_the_shipped_table_has_a_price() -> None:
    for name, provider in shipped().providers.items():
        for model in provider.models:
            periods = shipped().find(name, model)
            assert periods, (name, model)
            assert all(rate is None or rate >= 0 for period in periods for rate in _rates(period))


def _rates(period: Period) -> list[int | None]:
    return [getattr(period.rates, name) for name in Rates.__struct_fields__]


def test_an_override_wins_and_the_operators_table_comes_before_the_shipped_one() -> None:
    override = ModelPrice(OTHER, "settings")
    own, later = table(m=PERIOD), table(m=OTHER, n=OTHER)
    prices = Prices({("up", "n"): override}, [("data", own), ("shipped", later)])
    assert prices.price("up", "acme", "m") == ModelPrice(PERIOD, "data")
    assert prices.price("up", "acme", "n") is override
    assert prices.price("elsewhere", "acme", "n") == ModelPrice(OTHER, "shipped")
    assert prices.price("up", None, "m") is None
    assert prices.price("up", "free", "whatever") is FREE


def test_the_name_in_the_answer_is_tried_where_the_other_is_unknown() -> None:
    prices = Prices({}, [("shipped", table(m=PERIOD))])
    assert prices.price("up", "acme", "deployment-7", "m-2026-01-01") == ModelPrice(PERIOD)
    assert prices.price("up", "acme", "deployment-7", "deployment-7") is None
    assert prices.provider_of("https://api.acme.com/v1") == "acme"


@pytest.mark.parametrize("text", [b"", b"[]", b'{"version":"x","made":"y","providers":{"a":{}}}'])
def test_a_text_that_is_no_table_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(text)


def test_an_alias_of_an_alias_is_no_price() -> None:
    assert table(a="b", b="c", c=PERIOD).find("acme", "a") is None
