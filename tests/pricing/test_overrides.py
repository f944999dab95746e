"""Tests prices that an operator sets: own rates, a discount, free, and from when they apply."""

from __future__ import annotations

from flask_gateway.model.price_override import PriceOverride
from flask_gateway.pricing.overrides import SETTING, overridden
from flask_gateway.pricing.rates import FREE, ModelPrice, Period, Rates

BASE = ModelPrice((Period(Rates(input=1000, output=3001)),), "table")


def rates_of(price: ModelPrice | None) -> list[tuple[int | None, int | None, int]]:
    assert price is not None
    return [(period.rates.input, period.rates.output, period.begins) for period in price.periods]


def test_a_discount_without_a_price_is_none() -> None:
    assert overridden(PriceOverride(discount=100_000), None) is None


def test_a_discount_is_rounded_up_to_a_pico_dollar() -> None:
    price = overridden(PriceOverride(discount=500_000), BASE)
    assert rates_of(price) == [(500, 1501, 0)]
    assert price is not None
    assert price.source == SETTING


def test_own_rates_replace_all_of_the_table() -> None:
    assert rates_of(overridden(PriceOverride(rates={"input": 7}), BASE)) == [(7, None, 0)]
    assert rates_of(overridden(PriceOverride(rates={"input": 8}, discount=250_000), None)) == [(6, None, 0)]


def test_free_is_free() -> None:
    price = overridden(PriceOverride(free=True), BASE)
    assert price is not None
    assert price.periods == FREE.periods


def test_before_its_date_the_table_applies() -> None:
    price = overridden(PriceOverride(rates={"input": 7}, begins=1000), BASE)
    assert rates_of(price) == [(1000, 3001, 0), (7, None, 1000)]
