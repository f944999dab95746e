"""Budgets in words: the end of a window, and the kind of a subject."""

from __future__ import annotations

from kit.priced_costs import DAY

from flask_gateway.guards.budget_headers import WINDOWS, BudgetHeaders, kind_of
from flask_gateway.model.calendar_windows import Calendar, Window


def test_a_budget_for_all_time_has_no_end_and_amounts_can_be_hidden() -> None:
    total, day = WINDOWS.index(Window.TOTAL), WINDOWS.index(Window.DAY)
    hidden = BudgetHeaders(Calendar(), tell=False)
    assert hidden.of("team:t", 10**9, total, 1, 0) == {"x-gateway-budget": "team/total"}
    told = BudgetHeaders(Calendar(), tell=True).of("team:t", 10**9, day, 1, DAY)
    assert told["x-gateway-budget-reset"] == "2026-11-27T00:00:00Z"


def test_kinds_of_subjects() -> None:
    subjects = ("key:a", "key:a/model:m", "team:a/model:m", "user:t/u", "model:m", "all")
    assert [kind_of(subject) for subject in subjects] == [
        "key",
        "key-model",
        "team-model",
        "user",
        "model",
        "all",
    ]
