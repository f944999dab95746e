"""Maps LiteLLM's budgets: an amount for a duration there, an amount for a calendar window here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from .report import Report
from .values import Environment
from .yaml_tree import Entry

#: LiteLLM's ``duration_in_seconds``: a number and a unit, or one of four words. Seconds.
_DURATION = re.compile(r"(?P<count>[0-9]{1,5})(?P<unit>mo|[smhdwy])")
_DAY = 86_400
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": _DAY, "w": 7 * _DAY, "mo": 31 * _DAY, "y": 366 * _DAY}
_WORDS = {"hourly": 3600, "daily": _DAY, "weekly": 7 * _DAY, "monthly": 31 * _DAY}
#: Our windows with their longest, in seconds.
_WINDOWS = {"day": _DAY, "week": 7 * _DAY, "month": 31 * _DAY}
#: Durations that are a month as people mean it.
_MONTHS = range(28 * _DAY, 31 * _DAY + 1)
_NANO = Decimal("0.000000001")
#: The highest amount that is taken, US dollars.
_MOST = Decimal(10**9 - 1)


class Unbudgeted(Exception):
    """The amount cannot be a budget. The text says why."""


class ImportedBudget(NamedTuple):
    """A budget of the result.

    :param amount: US dollars. :param note: what changes in meaning; empty: nothing.
    """

    amount: str
    window: str
    note: str = ""

    @property
    def table(self) -> dict[str, str]:
        """The fields in the settings file."""
        return {"amount": self.amount, "window": self.window}

    def report(self, line: int, setting: str, place: str, report: Report) -> None:
        """Report where the budget is now, and what it means there."""
        text = f'{place} budgets: amount = "{self.amount}", window = "{self.window}"'
        if self.note:
            report.changed(line, setting, f"{text}: {self.note}")
        else:
            report.mapped(line, setting, text)


class GeneralBudgets(NamedTuple):
    """The budgets of ``config.yaml``.

    :param all_calls: of all calls together. :param end_user: the limits of each end user.
    :param end_user_at: the line and the setting of those. :param end_user_budget: the line, the setting and
        the value of ``max_end_user_budget_id``.
    """

    all_calls: ImportedBudget | None = None
    end_user: Mapping[str, Any] | None = None
    end_user_at: tuple[int, str] = (0, "")
    end_user_budget: tuple[int, str, str] = (0, "", "")


def budget_of(amount: str, duration: str) -> ImportedBudget:
    """The budget for a ``max_budget`` and a ``budget_duration``, which may be empty: for ever.

    :raises Unbudgeted: the amount is none.
    """
    window, note = _window(duration.strip().lower())
    return ImportedBudget(_amount(amount), window, note)


def dollars(text: str) -> Decimal | None:
    """An amount in US dollars, to the nano-dollar; ``None``: it is none."""
    try:
        amount = Decimal(text[:40])
    except InvalidOperation:
        return None
    return amount.quantize(_NANO) if amount.is_finite() and 0 <= amount <= _MOST else None


def _amount(text: str) -> str:
    amount = dollars(text)
    if amount is None:
        raise Unbudgeted("it is not an amount in US dollars")
    if not amount:
        raise Unbudgeted("a budget is above 0 here")
    return shown_amount(amount)


def shown_amount(amount: Decimal) -> str:
    return f"{amount.normalize():f}"


def _window(duration: str) -> tuple[str, str]:
    if not duration:
        return "total", ""
    length = _seconds(duration)
    if not length:
        return "total", "its budget_duration cannot be read, so it never begins again"
    window = next((name for name, longest in _WINDOWS.items() if length <= longest), "total")
    if length == _WINDOWS.get(window) or (window == "month" and length in _MONTHS):
        return (
            window,
            f"calendar windows (timezone of [ledger]), where LiteLLM counts {duration} from a reset",
        )
    if window == "total":
        return window, f"{duration} is longer than every window, so it never begins again: credit it by hand"
    return window, f"the shortest window that holds {duration}, so it gives less"


def _seconds(duration: str) -> int:
    """Seconds; 0: it is no duration."""
    if match := _DURATION.fullmatch(duration):
        return int(match["count"]) * _UNITS[match["unit"]]
    return _WORDS.get(duration, 0)


#: The settings of ``config.yaml`` that make budgets.
BUDGET_SETTINGS = ("max_budget", "budget_duration", "max_end_user_budget", "max_end_user_budget_id")


def general_budgets(
    found: Mapping[str, tuple[Entry, str]], environment: Environment, report: Report
) -> GeneralBudgets:
    """The budgets of the settings ``BUDGET_SETTINGS``.

    :param found: the entry and the path of each setting that stands in the file.
    """
    duration = _text(found, "budget_duration", environment)
    everyone = _budget(found, "max_budget", duration, environment, report)
    if "budget_duration" in found:
        entry, setting = found["budget_duration"]
        if everyone is None:
            report.left_out(entry.line, setting, "there is no max_budget")
        else:
            report.mapped(entry.line, setting, f'window = "{everyone.window}" of that budget')
    if everyone is not None:
        entry, setting = found["max_budget"]
        everyone.report(entry.line, setting, "[limits]", report)
    at = found.get("max_end_user_budget")
    end_user = _budget(found, "max_end_user_budget", "", environment, report)
    by_id = found.get("max_end_user_budget_id")
    return GeneralBudgets(
        everyone,
        {"budgets": [end_user.table]} if end_user is not None else None,
        (at[0].line, at[1]) if at else (0, ""),
        (by_id[0].line, by_id[1], environment.text(by_id[0].node) or "") if by_id else (0, "", ""),
    )


def _budget(
    found: Mapping[str, tuple[Entry, str]],
    name: str,
    duration: str,
    environment: Environment,
    report: Report,
) -> ImportedBudget | None:
    if name not in found:
        return None
    try:
        return budget_of(_text(found, name, environment), duration)
    except Unbudgeted as reason:
        entry, setting = found[name]
        report.left_out(entry.line, setting, str(reason))
        return None


def _text(found: Mapping[str, tuple[Entry, str]], name: str, environment: Environment) -> str:
    return (environment.text(found[name][0].node) or "") if name in found else ""


def report_end_users(budgets: GeneralBudgets, has_keys: bool, report: Report) -> None:
    """Report the budget of each end user, which is written into every key."""
    line, setting = budgets.end_user_at
    if budgets.end_user is None:
        return
    if not has_keys:
        report.left_out(line, setting, "there is no key: write users = { budgets = … } into [keys.NAME]")
        return
    text = "users of each [keys.NAME]: an end user has it once for each key, where LiteLLM has one over all"
    limits = "; ".join(
        f'amount = "{one["amount"]}", window = "{one["window"]}"'
        for one in budgets.end_user.get("budgets", ())
    )
    report.changed(line, setting, f"{text}: {limits}" if limits else text)
