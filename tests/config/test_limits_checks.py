"""Tests limits that no gateway could keep: budgets without a ledger, teams and prices of nothing."""

from __future__ import annotations

import msgspec
from kit.calls import make_settings

from flask_gateway.config.errors import ConfigError, Mistakes
from flask_gateway.config.limits_checks import (
    refuse_unkept_limits,
    refuse_unused_prices,
    refused_of_key,
    refused_of_team,
)
from flask_gateway.config.schema import KeySettings, LedgerSettings, Settings
from flask_gateway.model.calendar_windows import Window
from flask_gateway.model.limits import Budget, Limits, OwnerLimits
from flask_gateway.model.price_override import PriceOverride

BUDGET = OwnerLimits(own=Limits(budgets=(Budget(1, Window.MONTH, False),)))
LEDGER = LedgerSettings(data="/tmp/ledger")  # never opened


def lines(mistakes: Mistakes) -> list[str]:
    try:
        mistakes.raise_found()
    except ConfigError as error:
        return error.lines()
    return []


def unkept(settings: Settings) -> list[str]:
    mistakes = Mistakes()
    refuse_unkept_limits(settings, mistakes)
    return lines(mistakes)


def unused(settings: Settings) -> list[str]:
    mistakes = Mistakes()
    refuse_unused_prices(settings, mistakes)
    return lines(mistakes)


def test_a_team_that_is_not_set_is_named_with_the_nearest() -> None:
    key = KeySettings(id="a", digest=b"1", team="web")
    assert unkept(make_settings(keys=(key,), teams={"webs": OwnerLimits()})) == [
        "keys.a.team='web': expected the name of a team that is set; did you mean webs?"
    ]
    (line,) = unkept(make_settings(keys=(key,), teams={}))
    assert "write [teams.web]" in line


def test_a_budget_needs_a_ledger() -> None:
    keys = (KeySettings(id="a", digest=b"1", policy=BUDGET),)
    found = unkept(make_settings(keys=keys, teams={"t": BUDGET}))
    assert [line.partition(":")[0] for line in found] == ["keys.a.budgets", "teams.t.budgets"]
    assert unkept(make_settings(keys=keys, teams={"t": BUDGET}, ledger=LEDGER)) == []


def test_the_limits_of_an_issued_key_and_of_a_team_are_checked_alone() -> None:
    settings = make_settings(teams={"t": BUDGET})
    assert refused_of_key(OwnerLimits(), settings) == ""
    assert refused_of_key(BUDGET, settings).startswith("budgets: expected a directory")
    assert refused_of_team(BUDGET, settings).startswith("budgets: expected a directory")
    assert refused_of_team(BUDGET, msgspec.structs.replace(settings, ledger=LEDGER)) == ""


def test_a_price_needs_its_upstream_and_a_ledger() -> None:
    free = PriceOverride(free=True)
    found = unused(make_settings(prices={"nowhere/m": free, "mock": free}, ledger=LEDGER))
    assert len(found) == 2
    assert 'such as [prices."openai/gpt-4o"]' in found[1]
    assert unused(make_settings(prices={}, ledger=LEDGER)) == []
