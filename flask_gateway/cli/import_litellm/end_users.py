"""Makes the limits of end users: of each, and of those in LiteLLM's table of end users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .budget_table import BudgetRows
from .budgets import GeneralBudgets
from .cells import count_of, is_empty, is_true, rows_of
from .report import Report
from .teams import budget_in
from .yaml_tree import Line

#: The most end users that get limits of their own: each key lists them all.
MOST_NAMED = 500
#: The longest name of an end user that the gateway keeps as it is, characters.
_LONGEST = 64
Limits = Mapping[str, Any]


def limits_of(cells: Mapping[str, str], line: int, at: str, place: str, report: Report) -> Limits:
    """The limits in the columns of a budget, as the settings file has them.

    :param at: the row, for findings. :param place: the table of the settings that gets them.
    """
    found: dict[str, Any] = {
        "requests": count_of("rpm_limit", cells, line, at, report),
        "tokens": count_of("tpm_limit", cells, line, at, report, 10**12),
        "concurrent": count_of("max_parallel_requests", cells, line, at, report),
    }
    budget = budget_in(cells, line, at, place, report)
    if budget is not None:
        found["budgets"] = [budget.table]
    if not is_empty(cells.get("model_max_budget", "")):
        text = "budgets of single models are of keys and teams, not of end users"
        report.left_out(line, f"{at}.model_max_budget", text)
    return {name: value for name, value in found.items() if value is not None}


def limits_of_each(budgets: GeneralBudgets, rows: BudgetRows, report: Report) -> GeneralBudgets:
    """The budgets with the limits that ``max_end_user_budget_id`` names, for end users without their own."""
    line, setting, identity = budgets.end_user_budget
    if not identity:
        return budgets
    at, _, name = setting.rpartition(".")
    cells = rows.completed({"budget_id": identity}, line, at, name)
    limits = limits_of(cells, line, setting, "users of each [keys.NAME]", report)
    if not limits:
        return budgets
    return budgets._replace(end_user={**(budgets.end_user or {}), **limits}, end_user_at=(line, setting))


def read_end_users(text: str, source: str, rows: BudgetRows, report: Report) -> dict[str, Limits]:
    """The limits of the end users in an export of ``LiteLLM_EndUserTable``, by their names.

    :param source: the name of the file, for findings.
    :raises UnreadableTable: it has no column ``user_id``.
    """
    named: dict[str, Limits] = {}
    for number, row in rows_of(text, "user_id"):
        line, cells = Line(number, source), {name: cell.strip() for name, cell in row.items()}
        user = cells["user_id"]
        if is_empty(user) or not user.isprintable() or len(user) > _LONGEST:
            text = f"a name of up to {_LONGEST} printable characters may have limits of its own"
            report.left_out(line, "an end user", text)
        elif len(named) >= MOST_NAMED:
            report.left_out(line, f"end user {user}", f"only {MOST_NAMED} of them get limits of their own")
        elif limits := _of_row(cells, line, f"end user {user}", rows, report):
            named[user] = limits
    return named


def _of_row(cells: Mapping[str, str], line: int, at: str, rows: BudgetRows, report: Report) -> Limits:
    if is_true(cells.get("blocked", "")):
        report.left_out(line, at, "it is blocked, and an end user cannot be: its key is refused or none is")
        return {}
    for column in ("default_model", "allowed_model_region"):
        if not is_empty(cells.get(column, "")):
            report.left_out(line, f"{at}.{column}", "an end user has limits here, and no settings of calls")
    place = "user_limits of each [keys.NAME]"
    limits = limits_of(rows.completed(cells, line, at), line, at, place, report)
    if limits:
        report.changed(line, at, f"{place}: it has them once for each key, where LiteLLM has them over all")
    return limits
