"""Money: amounts and prices are exact, and other values are refused with the reason."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_gateway.model.money import MOST, MoneyError, cost, dollars, nano_dollars, pico_per_unit


@pytest.mark.parametrize(
    ("amount", "nano"),
    [
        ("50", 50_000_000_000), ("0.01", 10_000_000), (".5", 500_000_000), (0, 0), (7, 7_000_000_000),
        ("0.000000001", 1), (Decimal("2.50"), 2_500_000_000), (Decimal("1E+2"), 100_000_000_000),
        ("1000000", MOST),
    ],
)  # fmt: skip
def test_an_amount_in_nano_dollars(amount: str | int | Decimal, nano: int) -> None:
    assert nano_dollars(amount) == nano


@pytest.mark.parametrize(
    "amount",
    [
        "", "-1", "1e3", "1,50", "$5", "٣", "5 ", "0x10", "1.", "inf", "nan", Decimal("NaN"),
        Decimal("Infinity"), -1, Decimal("-0.01"), "1000000.000000001", "10000000", "0.0000000001",
        1.5, True, None,
    ],
)  # fmt: skip
def test_other_values_are_refused_as_amounts(amount: object) -> None:
    with pytest.raises(MoneyError):
        nano_dollars(amount)  # type: ignore[arg-type]  # what a settings file may hold


def test_a_price_is_per_million_units() -> None:
    assert pico_per_unit("2.50") == 2_500_000
    assert pico_per_unit("0.0011") == 1100
    for wrong in ("0.0000001", "1000001", "-1", "free"):
        with pytest.raises(MoneyError):
            pico_per_unit(wrong)


def test_a_cost_is_rounded_up_once() -> None:
    assert cost([(1, pico_per_unit("0.0011"))]) == 2
    assert cost([(1, 1), (1, 1)]) == 1
    assert cost([(-5, 1000), (0, 10**6)]) == 0
    # gpt-4o-mini: 1000 in, 200 of them cached, 300 out.
    assert cost([(800, 150_000), (200, 75_000), (300, 600_000)]) == 315_000


def test_an_amount_as_text_has_nine_decimals() -> None:
    assert dollars(315_000) == "0.000315000"
    assert dollars(-5_000_000_000) == "-5.000000000"


parts = st.lists(st.tuples(st.integers(-10, 10**9), st.integers(0, 10**9)), max_size=8)


@given(parts, st.randoms())
def test_a_cost_is_that_of_exact_decimals_in_any_order(rows: list[tuple[int, int]], random: object) -> None:
    exact = sum((Decimal(max(units, 0)) * price for units, price in rows), Decimal(0)) / 1000
    assert cost(rows) == int(exact.to_integral_value(rounding=ROUND_CEILING))
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert cost(shuffled) == cost(rows) >= 0


@given(parts, parts)
def test_a_cost_is_additive_up_to_a_nano_dollar(
    left: list[tuple[int, int]], right: list[tuple[int, int]]
) -> None:
    assert 0 <= cost(left) + cost(right) - cost(left + right) <= 1


@given(parts, st.integers(0, 7), st.integers(1, 10**6))
def test_a_cost_grows_with_every_unit(rows: list[tuple[int, int]], index: int, more: int) -> None:
    grown = [(units + more * (at == index), price) for at, (units, price) in enumerate(rows)]
    assert cost(grown) >= cost(rows)


@given(st.integers(0, MOST))
def test_text_and_amount_are_each_others_inverse(nano: int) -> None:
    assert nano_dollars(dollars(nano)) == nano
