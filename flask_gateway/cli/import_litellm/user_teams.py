"""Makes teams of LiteLLM's users: each holds the limits of a user over the user's keys.

LiteLLM counts the budget of a user over those of its keys that have no team (``common_checks``).
"""

from __future__ import annotations

from collections.abc import Mapping

from .budgets import dollars
from .cells import is_empty, rows_of
from .report import Report
from .teams import ImportedTeam, Teams
from .yaml_tree import Line

_LIMITS = ("max_budget", "rpm_limit", "tpm_limit", "max_parallel_requests", "model_max_budget", "models")


class UserTeams:
    """The users of ``LiteLLM_UserTable``, by ``user_id``."""

    def __init__(self, teams: Teams, report: Report) -> None:
        self._teams, self._report = teams, report
        self._rows: dict[str, tuple[Line, Mapping[str, str]]] = {}

    def read(self, text: str, source: str) -> None:
        """Add the rows of an export, as CSV or JSON.

        :param source: the name of the file, for findings.
        :raises UnreadableTable: it has no column ``user_id``.
        """
        for line, row in rows_of(text, "user_id"):
            cells = {name: value.strip() for name, value in row.items()}
            self._rows[cells["user_id"]] = Line(line, source), cells

    def of_key(self, key: Mapping[str, str], line: int, at: str) -> ImportedTeam | None:
        """The team that stands for the user of a key without a team; ``None``: its user has no limits."""
        found = self._rows.get(key.get("user_id", ""))
        if found is None or is_empty(key["user_id"]):
            return None
        where, cells = found
        if dollars(cells.get("max_budget", "") or "1") == 0:
            return ImportedTeam("", is_blocked=True)
        if all(is_empty(cells.get(name, "")) for name in _LIMITS):
            return None
        alias = cells.get("user_alias") or cells.get("user_email") or cells["user_id"]
        team = self._teams.add(f"user {cells['user_id']}", {**cells, "team_alias": f"user-{alias}"}, where)
        self._report.changed(line, f"{at}.user_id", f"team = {team.name}, which has the limits of its user")
        return team
