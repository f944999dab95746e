"""The limits of a line of the journal: its caller is gone."""

from __future__ import annotations

from hashlib import sha256
from typing import ClassVar

from kit.calls import make_settings
from kit.ledger_lines import settled

from flask_gateway.app.line_limits import LineLimits
from flask_gateway.auth.key_rows import Grants, KnownKey
from flask_gateway.config.schema import KeySettings
from flask_gateway.model.calendar_windows import Window
from flask_gateway.model.limits import Budget, Limits, OwnerLimits

DOLLAR = 10**9
BUDGET = Limits(budgets=(Budget(DOLLAR, Window.TOTAL),))
KEY = KeySettings(
    id="web",
    digest=sha256(b"a-key-of-late-alerts").digest(),
    team="search",
    policy=OwnerLimits(own=BUDGET, models={"m": BUDGET}, users=BUDGET),
)
TEAMS = {"search": OwnerLimits(own=BUDGET)}


class Issued:
    """One issued key of a team of the database."""

    teams: ClassVar = {"ops": '{"tokens": 5}'}

    def of_id(self, id: str) -> KnownKey | None:
        grants = Grants("ops", "{}", "null", '{"budgets": [{"amount": "2", "window": "day"}]}')
        return KnownKey(1, id, False, 0, 0, grants) if id == "key_a" else None


def test_the_limits_of_a_line_are_those_of_now() -> None:
    limits = LineLimits(make_settings(keys=(KEY,), teams=TEAMS), Issued())  # type: ignore[arg-type]
    assert limits.of(settled(1, key="key_a"), "key:key_a").budgets == (Budget(2 * DOLLAR, Window.DAY),)
    assert limits.of(settled(1, key="key_a", team="ops"), "team:ops").tokens == 5
    assert limits.of(settled(1, key="gone", team="ops"), "team:ops").tokens == 5
    assert limits.of(settled(1, key="web", team="search"), "team:search") == BUDGET
    assert not limits.of(settled(1, key="web"), "all")


class Broken(Issued):
    """A key and a team whose limits cannot be read."""

    teams: ClassVar = {"ops": "{"}


def test_limits_that_cannot_be_read_are_none_and_hinder_no_line() -> None:
    limits = LineLimits(make_settings(keys=(KEY,)), Broken())  # type: ignore[arg-type]
    assert not limits.of(settled(1, key="key_a", team="ops"), "key:key_a")
    assert not limits.of(settled(1, key="gone", team="ops"), "team:ops")


def test_an_adjustment_of_a_model_finds_the_limits_of_that_model() -> None:
    limits = LineLimits(make_settings(keys=(KEY,), teams=TEAMS), None)
    line = settled(1, key="web", model="", source="adjustment", upstream_model="key:web/model:m")
    assert limits.of(line, "key:web/model:m") == BUDGET
    assert not limits.of(line, "key:web/model:other")
