"""The data of genai-prices becomes a table: exact names and amounts, and nothing that is not understood."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from flask_gateway.pricing.genai_prices import Compiled, compile_json, pico
from flask_gateway.pricing.table import PriceTable, decode

MADE = date(2026, 11, 27)


def compiled(*models: dict[str, Any], **fields: Any) -> Compiled:
    provider = {"id": "openai", "api_pattern": r"https://api\.openai\.com", "models": models, **fields}
    return compile_json(json.dumps([provider, {"id": "a-reseller"}]).encode(), "test", MADE)


def table(*models: dict[str, Any]) -> PriceTable:
    return decode(json.dumps(compiled(*models).table).encode())


def model(name: str, prices: Any, **fields: Any) -> dict[str, Any]:
    return {"id": name, "match": {"equals": name}, "prices": prices, **fields}


def test_amounts_are_exact_and_names_whole() -> None:
    match = {"or": [{"equals": "GPT-X"}, {"starts_with": "gpt-x-2026-"}, {"starts_with": "gpt-x-latest"}]}
    made = table(
        model("gpt-x", {"input_mtok": 0.1, "cache_read_mtok": 0.0125, "output_mtok": 3}, match=match)
    )
    assert (made.version, made.made) == ("test", "2026-11-27")
    assert made.provider_of("https://api.openai.com/v1") == "openai"
    for name in ("gpt-x", "gpt-x-latest", "gpt-x-2026-01-02"):
        (period,) = made.find("openai", name) or ()
        assert (period.rates.input, period.rates.cached, period.rates.output) == (100_000, 12_500, 3_000_000)
    assert made.find("openai", "gpt-x-pro") is None
    assert list(made.providers) == ["openai"]


def test_dates_hours_tiers_and_services() -> None:
    prices = [
        {"prices": {"input_mtok": {"base": 1, "tiers": [{"start": 200_000, "price": 2}]}, "output_mtok": 4}},
        {"constraint": {"start_date": "2026-03-13"}, "prices": {"input_mtok": 1}},
        {"constraint": {"start_time": "16:30:00", "end_time": "02:00:00+02:00"}, "prices": {"input_mtok": 1}},
    ]
    variants = [
        {"when": {"service_tier": "flex"}, "prices": {"input_mtok": 0.5}},
        {"when": {"service_tier": "flex", "region": "eu"}, "prices": {"input_mtok": 0.6}},
    ]
    first, second, third, flex = table(model("m", prices, price_variants=variants)).find("openai", "m") or ()
    assert first.rates.output == 4_000_000
    assert [(tier.above, tier.rates.input) for tier in first.tiers] == [(200_000, 2_000_000)]
    assert second.begins == 1773360000
    assert third.hours == (16 * 3600 + 1800, 0)
    assert (flex.service, flex.rates.input) == ("flex", 500_000)


def test_a_unit_that_is_not_known_leaves_the_model_out() -> None:
    made = compiled(
        model("odd", {"input_mtok": 1, "smells_kcount": 1}),
        model("film", {"output_video_mtok": 1}),
        model("plain", {"input_mtok": 1}),
    )
    assert list(made.table["providers"]["openai"]["models"]) == ["plain"]
    assert made.left_out == ["openai/odd: the unit smells_kcount is not known to this version"]


def test_rates_that_are_known_better_replace_others() -> None:
    made = compiled(model("mistral-large-latest", {"input_mtok": 2, "output_mtok": 6}), id="mistral")
    (period,) = made.table["providers"]["mistral"]["models"]["mistral-large-latest"]
    assert period["rates"] == {"input": 500_000, "output": 1_500_000, "cached": 50_000}


@pytest.mark.parametrize(
    ("price", "expected"), [("0.0011", 1100), ("1e-7", 1), ("0.0000011", 2), ("0", 0), ("12.5", 12_500_000)]
)
def test_pico_dollars_are_rounded_up(price: str, expected: int) -> None:
    assert pico(Decimal(price), Decimal(10**6)) == expected


@pytest.mark.parametrize(
    "text",
    [
        b"[]",
        b"[1]",
        b'[{"id":"a-reseller"}]',
        b'[{"id":"openai","api_pattern":"(","models":[]}]',
        b'[{"id":"openai","api_pattern":"x","models":[{"id":"m","prices":{"input_mtok":-1}}]}]',
        b'[{"id":"openai","api_pattern":"x","models":[{"id":"m","prices":{"input_mtok":"dear"}}]}]',
        b'[{"id":"openai","api_pattern":"x","models":[{"id":"m","prices":{"input_mtok":NaN}}]}]',
    ],
)
def test_another_file_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"genai-prices|a price of"):
        compile_json(text, "test", MADE)
