"""The cost of known answers at the shipped prices, and the laws of a cost."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_gateway.model.units import Units
from flask_gateway.pricing.rates import FREE, ModelPrice, Period, Rates, Tier, amount, plain_amount
from flask_gateway.pricing.table import shipped

#: 2026-11-27 00:00 UTC.
NOW = 1795737600


def cost(name: str, service: str = "", **counts: int) -> int | None:
    provider, _, model = name.partition("/")
    periods = shipped().find(provider, model)
    assert periods is not None
    return ModelPrice(periods).cost(Units(**counts), NOW, service)


@pytest.mark.parametrize(
    ("name", "counts", "nano"),
    [
        ("openai/gpt-4o-mini", {"input": 1000, "cached": 200, "output": 300}, 315_000),
        ("openai/o3", {"input": 1000, "output": 500, "reasoning": 400}, 6_000_000),
        ("anthropic/claude-sonnet-4-20250514", {"input": 4740, "write": 4735, "output": 255}, 21_596_250),
        (
            "anthropic/claude-sonnet-4-20250514",
            {"input": 4740, "write": 4735, "write_1h": 4735, "output": 255},
            32_250_000,
        ),
        ("google/gemini-2.5-pro", {"input": 200_000}, 250_000_000),
        ("google/gemini-2.5-pro", {"input": 200_001}, 500_002_500),
        (
            "openai/gpt-realtime",
            {"input": 150, "input_audio": 50, "output": 20, "output_audio": 20},
            3_280_000,
        ),
        ("openai/gpt-4o-mini", {"input": 10, "cached": 20, "output": -5}, 20 * 75),
    ],
)
def test_a_known_answer(name: str, counts: dict[str, int], nano: int) -> None:
    assert cost(name, **counts) == nano


def test_a_batch_costs_half() -> None:
    assert cost("openai/o3", "batch", input=10**6, output=10**6) == 5_000_000_000


def test_a_service_tier_without_rates_of_its_own_costs_the_usual() -> None:
    usual = cost("openai/o3", input=1000, output=100)
    assert cost("openai/o3", "scale", input=1000, output=100) == usual
    assert cost("openai/o3", "flex", input=1000, output=100) == usual // 2  # type: ignore[operator]


def test_a_price_is_rounded_up_to_a_nano_dollar() -> None:
    assert amount(Units(input=1).consistent(), Rates(input=1100, output=0)) == 2


def test_written_tokens_are_the_larger_of_the_total_and_its_parts() -> None:
    units = Units(input=200_000, write=184_457, write_5m=31_490).consistent()
    assert (units.write_5m, units.write_1h) == (184_457, 0)
    units = Units(input=0, write=10, write_5m=20, write_1h=30).consistent()
    assert (units.write, units.write_5m, units.write_1h, units.input) == (50, 20, 30, 50)


def test_a_used_unit_without_a_rate_has_no_known_cost() -> None:
    assert amount(Units(input=1, output=1).consistent(), Rates(input=1)) is None
    assert amount(Units(input=1).consistent(), Rates(input=1)) == 1
    assert amount(Units(seconds=9).consistent(), Rates(characters=1)) is None


def test_a_model_that_is_billed_by_its_unit_is_not_billed_by_its_tokens() -> None:
    spoken = Units(input=5, output=8, output_audio=8, characters=5)
    assert cost("openai/tts-1", input=5, output=8, output_audio=8, characters=5) == 75_000
    assert cost("openai/whisper-1", input=90, output=45, seconds=9) == 900_000
    assert amount(Units(input=90, output=45), Rates(seconds=1000)) is None
    assert amount(spoken, Rates(input=1000, output=1000)) == 13


def test_a_token_that_is_cached_and_audio_counts_once() -> None:
    units = Units(input=100, cached=40, input_audio=50, cached_audio=30)
    text, cached, audio = 100 - 40 - 50 + 30, 40 - 30, 50 - 30
    rates = Rates(input=1000, cached=2000, input_audio=5000, cached_audio=7000)
    assert amount(units, rates) == text + cached * 2 + audio * 5 + 30 * 7
    # Without a rate of its own, a cached audio token is billed as audio.
    rates = Rates(input=1000, cached=2000, input_audio=5000)
    assert amount(units, rates) == text + cached * 2 + 50 * 5


def test_the_price_in_force_is_the_last_period_that_holds() -> None:
    dated = ModelPrice((Period(Rates(input=2000)), Period(Rates(input=1000), begins=1000)))
    assert dated.cost(Units(input=1), 999.9) == 2
    assert dated.cost(Units(input=1), 1000) == 1
    assert ModelPrice((Period(Rates(input=1), begins=1000),)).cost(Units(), 999) is None


def test_hours_may_pass_midnight() -> None:
    night = Period(Rates(input=1000), hours=(79200, 3600))
    held = [hour for hour in range(24) if night.holds(hour * 3600)]
    assert held == [0, 22, 23]
    assert not Period(Rates(), hours=(5, 5)).holds(5)


def test_the_highest_tier_that_holds_is_for_the_whole_call() -> None:
    tiers = (Tier(100, Rates(input=2000)), Tier(200, Rates(input=3000), at=True))
    price = ModelPrice((Period(Rates(input=1000), tiers),))
    assert [price.cost(Units(input=tokens), 0) for tokens in (100, 101, 199, 200)] == [100, 202, 398, 600]


def test_free_is_a_price_and_costs_nothing() -> None:
    assert FREE.cost(Units(input=10**9, output=10**9, searches=5), NOW) == 0


def test_rates_have_a_digest() -> None:
    assert Rates(input=1).digest == Rates(input=1).digest != Rates(input=2).digest
    assert len(Rates().digest) == 16


counts = st.fixed_dictionaries({name: st.integers(-5, 10**7) for name in Units.__struct_fields__})
some_rates = st.builds(
    Rates,
    **{
        name: st.integers(0, 10**8) if name in ("input", "output", "images", "seconds", "characters")
        else st.none() | st.integers(0, 10**8)
        for name in Rates.__struct_fields__
    },
)  # fmt: skip


@given(counts, some_rates)
def test_no_cost_is_negative_and_none_depends_on_the_order_of_parts(
    row: dict[str, int], rates: Rates
) -> None:
    units = Units(**row).consistent()
    backwards = Units(**dict(reversed(row.items()))).consistent()
    assert amount(units, rates) == amount(backwards, rates)
    nano = amount(units, rates)
    assert nano is not None
    assert nano >= 0


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_cost_is_that_of_exact_decimals(tokens: int, output: int, price: int, other: int) -> None:
    exact = (Decimal(tokens) * price + Decimal(output) * other) / 1000
    rounded = int(exact.to_integral_value(rounding=ROUND_CEILING))
    assert amount(Units(input=tokens, output=output), Rates(input=price, output=other)) == rounded


@given(counts, some_rates, st.sampled_from(["output", "requests", "searches", "images", "characters"]))
def test_a_cost_grows_with_a_unit(row: dict[str, int], rates: Rates, name: str) -> None:
    less = Units(**row).consistent()
    more = msgspec.structs.replace(less, **{name: getattr(less, name) + 1000})
    assert (amount(more, rates) or 0) >= (amount(less, rates) or 0)


_maybe = st.none() | st.integers(0, 10**7)


@given(st.tuples(_maybe, _maybe, _maybe, _maybe, _maybe), st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_request_of_text_costs_the_same_by_the_short_way(
    prices: tuple[int | None, ...], total: int, written: int
) -> None:
    read, cached, out, request, reasoning = prices
    rates = Rates(input=read, cached=cached, output=out, requests=request, reasoning=reasoning)
    for known in {0, total // 3, total}:
        units = Units(input=total, cached=known, output=written)
        assert units.consistent() == units
        assert plain_amount(total, known, written, rates) == amount(units, rates)
