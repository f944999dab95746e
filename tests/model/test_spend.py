"""Tests the cost of a call: the sum of its legs, and unknown where one is."""

from __future__ import annotations

from flask_gateway.model.spend import Leg, Spend, total
from flask_gateway.model.units import Units


def leg(cost: int | None) -> Leg:
    return Leg(upstream="up", model="m", units=Units(), cost=cost)


def test_the_cost_of_all_legs() -> None:
    assert total(()) == 0
    assert total((leg(2), leg(3))) == 5
    assert total((leg(2), leg(None))) is None


def test_a_call_that_has_not_ended_has_no_cost() -> None:
    assert Spend().cost is None
    assert Spend(legs=(leg(2),)).cost == 2
