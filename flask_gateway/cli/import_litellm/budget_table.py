"""Reads LiteLLM's table of budgets: limits that keys and end users name by ``budget_id``."""

from __future__ import annotations

from collections.abc import Mapping

from .cells import is_empty, rows_of
from .report import Report
from .yaml_tree import Line

#: The columns of a budget that its holder may have itself, too.
_LIMITS = ("rpm_limit", "tpm_limit", "max_parallel_requests", "model_max_budget", "soft_budget")
Cells = Mapping[str, str]


class BudgetRows:
    """The rows of ``LiteLLM_BudgetTable``, by ``budget_id``."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._rows: dict[str, Cells] = {}

    def read(self, text: str, source: str) -> None:
        """Add the rows of an export, as CSV or JSON.

        :param source: the name of the file, for findings.
        :raises UnreadableTable: it has no column ``budget_id``.
        """
        for line, row in rows_of(text, "budget_id"):
            cells = {name: value.strip() for name, value in row.items()}
            self._rows[cells["budget_id"]] = cells
            if not is_empty(cells.get("allowed_models", "")):
                text = "models of a budget are not offered: list the models of a key in [keys.NAME] models"
                at = f"budget {cells['budget_id']}.allowed_models"
                self._report.left_out(Line(line, source), at, text)

    def completed(self, cells: Cells, line: int, at: str, setting: str = "budget_id") -> Cells:
        """The cells of a key or an end user, with those of its budget where it has none of its own.

        :param setting: names the budget, in findings.
        """
        identity = cells.get("budget_id", "")
        if is_empty(identity):
            return cells
        row = self._rows.get(identity)
        if row is None:
            text = "no table has its budget: --budgets brings LiteLLM_BudgetTable"
            self._report.left_out(line, f"{at}.{setting}", text)
            return cells
        self._report.mapped(line, f"{at}.{setting}", f"the limits of the budget {identity}")
        own = {name: cell for name, cell in cells.items() if _is_set(cell) or name not in _LIMITS}
        taken = {name: row[name] for name in _LIMITS if _is_set(row.get(name, ""))}
        if not _is_set(own.get("max_budget", "")):
            taken |= {name: row.get(name, "") for name in ("max_budget", "budget_duration")}
            own = {name: cell for name, cell in own.items() if name not in taken or name in _LIMITS}
        return {**taken, **own}


def _is_set(cell: str) -> bool:
    return not is_empty(cell) or cell in ("0", "0.0")
