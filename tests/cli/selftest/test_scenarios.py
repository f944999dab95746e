"""Tests the list of scenarios: sixteen, each with its own name and words."""

from __future__ import annotations

from flask_gateway.cli.selftest import scenarios


def test_there_are_sixteen_each_with_its_own_name() -> None:
    listed = scenarios.SCENARIOS
    names = [scenario.id for scenario in listed]
    assert names == [f"S{number:02d}" for number in range(1, 17)]
    assert all(scenario.title for scenario in listed)
    assert len({scenario.title for scenario in listed}) == 16
