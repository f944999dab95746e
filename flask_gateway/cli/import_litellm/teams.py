"""Makes teams of LiteLLM's table of teams, and of what its table of keys says of them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from .budgets import ImportedBudget, Unbudgeted, budget_of, dollars, shown_amount
from .cells import count_of, free_name, is_empty, is_true, listed, rows_of
from .report import Report
from .yaml_tree import Line


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
            if not is_empty(cells["team_id"]) and cells["team_id"] not in self._by_id:
                self._add(cells, Line(line, source))

    def of_key(self, row: Mapping[str, str], line: int, at: str) -> ImportedTeam | None:
        """The team of a key; ``None``: it has none. Columns such as ``team_max_budget`` are its limits."""
        identity = row.get("team_id", "")
        if is_empty(identity):
            return None
        if (known := self._by_id.get(identity)) is not None:
            return known
        own = {name.removeprefix("team_"): cell for name, cell in row.items() if name.startswith("team_")}
        cells = {**own, "team_id": identity, "team_alias": row.get("team_alias", "")}
        team = self._add(cells, line)
        if not any(name in own for name in ("max_budget", "tpm_limit", "rpm_limit")):
            text = f"[teams.{team.name}] without limits: --teams brings those of LiteLLM_TeamTable"
            self._report.left_out(line, f"{at}.team_id", text)
        return team

    def _add(self, cells: Mapping[str, str], line: int) -> ImportedTeam:
        taken = {team.name for team in self._by_id.values()}
        name = free_name(cells.get("team_alias") or cells["team_id"], f"team-{int(line)}", taken)
        at = f"team {name}"
        team = ImportedTeam(
            name,
            tuple(listed(cells.get("models", "")) or ()),
            is_true(cells.get("blocked", "")),
            count_of("rpm_limit", cells, line, at, self._report),
            count_of("tpm_limit", cells, line, at, self._report, 10**12),
            count_of("max_parallel_requests", cells, line, at, self._report),
            budget_in(cells, line, at, f"[teams.{name}]", self._report),
        )
        self._by_id[cells["team_id"]] = team
        self._report.mapped(line, at, f"[teams.{name}]")
        report_spend(cells, line, at, f"team:{name}", self._report)
        if not is_empty(cells.get("model_max_budget", "")):
            text = f"write budgets into [teams.{name}] model_limits (docs/money.md)"
            self._report.left_out(line, f"{at}.model_max_budget", text)
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


def report_spend(cells: Mapping[str, str], line: int, at: str, subject: str, report: Report) -> None:
    """Say how to charge what was spent already: the gateway counts from zero."""
    spent = dollars(cells.get("spend", "") or "0")
    if spent:
        body = f'{{"subject": "{subject}", "amount": "{shown_amount(spent)}"}}'
        text = f"the gateway counts from zero; to charge it once: POST /admin/v1/adjustments {body}"
        report.left_out(line, f"{at}.spend", text)
