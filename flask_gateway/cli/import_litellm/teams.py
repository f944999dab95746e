"""Makes teams of LiteLLM's table of teams, and of what its table of keys says of them."""

from __future__ import annotations

import json
from collections.abc import Mapping

import msgspec

from .budgets import ImportedBudget, Unbudgeted, budget_of, dollars, shown_amount
from .cells import count_of, free_name, is_empty, is_true, listed, rows_of
from .report import Report
from .yaml_tree import Line

#: The longest name of a model in ``model_max_budget``, characters.
_LONGEST_NAME = 256


class ImportedTeam(msgspec.Struct, frozen=True):
    """A team of the result.

    :param models: the models that LiteLLM lets its keys call; empty: all. :param is_blocked: whether LiteLLM
        refuses its keys. :param requests: per minute. :param concurrent: calls at once.
    """

    name: str
    models: tuple[str, ...] = ()
    is_blocked: bool = False
    requests: int | None = None
    tokens: int | None = None
    concurrent: int | None = None
    budget: ImportedBudget | None = None
    model_budgets: Mapping[str, ImportedBudget] = {}


class Teams:
    """The teams, by LiteLLM's ``team_id``."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._by_id: dict[str, ImportedTeam] = {}

    @property
    def all(self) -> list[ImportedTeam]:
        return list(self._by_id.values())

    def read(self, text: str, source: str) -> None:
        """Add the teams in an export of ``LiteLLM_TeamTable``, as CSV or JSON.

        :param source: the name of the file, for findings.
        :raises UnreadableTable: it has no column ``team_id``.
        """
        for line, row in rows_of(text, "team_id"):
            cells = {name: value.strip() for name, value in row.items()}
            if not is_empty(cells["team_id"]):
                self.add(cells["team_id"], cells, Line(line, source))

    def of_key(self, row: Mapping[str, str], line: int, at: str) -> ImportedTeam | None:
        """The team of a key; ``None``: it has none. Columns such as ``team_max_budget`` are its limits."""
        identity = row.get("team_id", "")
        if is_empty(identity):
            return None
        if (known := self._by_id.get(identity)) is not None:
            return known
        own = {name.removeprefix("team_"): cell for name, cell in row.items() if name.startswith("team_")}
        team = self.add(identity, {**own, "team_alias": row.get("team_alias", "")}, line)
        if not any(name in own for name in ("max_budget", "tpm_limit", "rpm_limit")):
            text = f"[teams.{team.name}] without limits: --teams brings those of LiteLLM_TeamTable"
            self._report.left_out(line, f"{at}.team_id", text)
        return team

    def add(self, identity: str, cells: Mapping[str, str], line: int) -> ImportedTeam:
        """The team of that id. It is made of the cells if it is not there yet."""
        if (known := self._by_id.get(identity)) is not None:
            return known
        taken = {team.name for team in self._by_id.values()}
        name = free_name(cells.get("team_alias") or identity, f"team-{int(line)}", taken)
        at = f"team {name}"
        team = ImportedTeam(
            name,
            tuple(listed(cells.get("models", "")) or ()),
            is_true(cells.get("blocked", "")),
            count_of("rpm_limit", cells, line, at, self._report),
            count_of("tpm_limit", cells, line, at, self._report, 10**12),
            count_of("max_parallel_requests", cells, line, at, self._report),
            budget_in(cells, line, at, f"[teams.{name}]", self._report),
            model_budgets_in(cells, line, at, f"[teams.{name}]", self._report),
        )
        self._by_id[identity] = team
        self._report.mapped(line, at, f"[teams.{name}]")
        report_spend(cells, line, at, f"team:{name}", self._report)
        return team


def budget_in(
    cells: Mapping[str, str], line: int, at: str, place: str, report: Report
) -> ImportedBudget | None:
    """The budget of ``max_budget`` and ``budget_duration``; ``None``: there is none. It is reported."""
    amount, duration = cells.get("max_budget", ""), cells.get("budget_duration", "")
    if is_empty(amount) and amount not in ("0", "0.0"):
        return None
    try:
        budget = budget_of(amount, "" if is_empty(duration) else duration)
    except Unbudgeted as reason:
        report.left_out(line, f"{at}.max_budget", str(reason))
        return None
    budget.report(line, f"{at}.max_budget", place, report)
    return budget


def model_budgets_in(
    cells: Mapping[str, str], line: int, at: str, place: str, report: Report
) -> dict[str, ImportedBudget]:
    """The budgets of ``model_max_budget``, by model. Each is reported."""
    setting, cell = f"{at}.model_max_budget", cells.get("model_max_budget", "")
    if is_empty(cell):
        return {}
    found: dict[str, ImportedBudget] = {}
    try:
        for model, entry in json.loads(cell).items():
            if not model.strip() or not model.isprintable() or len(model) > _LONGEST_NAME:
                raise Unbudgeted("the name of a model in it cannot be used")
            found[model] = budget_of(*_amount_and_duration(entry))
    except Unbudgeted as reason:
        report.left_out(line, setting, str(reason))
        return {}
    except (ValueError, AttributeError, RecursionError):
        report.left_out(line, setting, "it is not an object in JSON")
        return {}
    for model, budget in found.items():
        budget.report(line, f"{setting} {model}", f"{place} model_limits", report)
    return found


def _amount_and_duration(entry: object) -> tuple[str, str]:
    """The two of LiteLLM's ``BudgetConfig``, whose fields have two names each, or of a bare number."""
    if not isinstance(entry, dict):
        return str(entry), ""
    if any(entry.get(name) for name in ("tpm_limit", "rpm_limit")):
        raise Unbudgeted("it limits requests or tokens, too: write [keys.NAME] model_limits by hand")
    amount = entry.get("budget_limit", entry.get("max_budget"))
    return str(amount), str(entry.get("time_period", entry.get("budget_duration")) or "")


def report_spend(cells: Mapping[str, str], line: int, at: str, subject: str, report: Report) -> None:
    """Say how to charge what was spent already: the gateway counts from zero."""
    spent = dollars(cells.get("spend", "") or "0")
    if spent:
        body = f'{{"subject": "{subject}", "amount": "{shown_amount(spent)}"}}'
        text = f"the gateway counts from zero; to charge it once: POST /admin/v1/adjustments {body}"
        report.left_out(line, f"{at}.spend", text)
