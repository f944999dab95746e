"""Reads LiteLLM's table of keys, as CSV or JSON. Their holders go on with the keys that they have.

LiteLLM stores the SHA-256 of a key in the column ``token``, as 64 hex digits: our ``sha256``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import NamedTuple

import msgspec

from ...config.errors import InvalidValue
from ...config.secrets import Digest
from ...model.call import fits_any
from . import reasons
from .budget_table import BudgetRows
from .budgets import ImportedBudget, dollars
from .cells import count_of, free_name, is_empty, is_true, listed, rows_of
from .report import Report
from .teams import ImportedTeam, Teams, budget_in, model_budgets_in, report_spend
from .user_teams import UserTeams
from .values import Literal, VariableRef
from .yaml_tree import Line

#: The columns that are reported where they hold something.
_REPORTED = {
    "model_spend": "the gateway counts from zero",
    "soft_budget": "alerts of [ledger] are shares of each budget (docs/money.md)",
    "allowed_routes": "a key may use every operation",
    "aliases": "aliases of one key are not offered",
    "config": "settings of one key are not offered",
    "permissions": "permissions of one key are not offered",
    "organization_id": "organizations are not offered",
    "allowed_cache_controls": reasons.CACHE,
}
_HEX = re.compile(r"[0-9a-fA-F]{64}")


class ImportedKey(msgspec.Struct, frozen=True):
    """A caller's key.

    :param digest: SHA-256 as hex; empty if ``place`` says where the key is.
    :param rate_limit: requests per minute. :param concurrent: calls at once.
    :param tokens: tokens per minute. ``None``: the general limit.
    :param models: the models that it may call; ``None``: all. :param team: empty: none.
    """

    name: str
    digest: str = ""
    place: VariableRef | Literal | None = None
    rate_limit: int | None = None
    concurrent: int | None = None
    tokens: int | None = None
    models: tuple[str, ...] | None = None
    team: str = ""
    budget: ImportedBudget | None = None
    model_budgets: Mapping[str, ImportedBudget] = {}


class Known(NamedTuple):
    """The parts that the table of keys refers to.

    :param groups: the models of each access group. :param digests: of keys that are there already, as hex.
    :param teams: those of the table of teams; they get those of the keys.
    :param users: of the table of users. :param budgets: of the table of budgets.
    """

    groups: Mapping[str, tuple[str, ...]]
    digests: Iterable[str]
    teams: Teams
    users: UserTeams
    budgets: BudgetRows


def read_keys(text: str, source: str, known: Known, now: datetime, report: Report) -> list[ImportedKey]:
    """The keys in a CSV with a header, or a list of objects in JSON.

    :param source: the name of the file, for findings.
    :param now: keys that have expired before are left out.
    :raises UnreadableTable: the file has no column ``token``, or is neither CSV nor JSON.
    """
    table = _Table(known, now, report)
    for line, row in rows_of(text):
        table.add(Line(line, source), row)
    return table.keys


class _Table:
    def __init__(self, known: Known, now: datetime, report: Report) -> None:
        self._now, self._report = now, report
        self._known, self._groups = known, known.groups
        self._names: set[str] = {"master"}
        self._digests = set(known.digests)
        self.keys: list[ImportedKey] = []

    def add(self, line: int, row: Mapping[str, str]) -> None:
        cells: Mapping[str, str] = {name: value.strip() for name, value in row.items()}
        # A name for logs that no other key has.
        name = free_name(cells.get("key_alias") or "", f"key-{int(line)}", self._names)
        at = f"key {name}"
        cells = self._known.budgets.completed(cells, line, at)
        if reason := self._unusable(cells):
            self._report.left_out(line, at, reason)
            return
        hashed = self._digest(cells["token"], line, at)
        if hashed in self._digests or not _is_digest(hashed):
            self._report.left_out(line, at, "another row has the same token, or it is that of an empty key")
            return
        team = self._team(cells, line, at)
        if team is not None and team.is_blocked:
            text = (
                "its team is blocked" if team.name else "the budget of its user is 0, so it may call nothing"
            )
            self._report.left_out(line, at, text)
            return
        models = self._models(cells.get("models", ""), team, line, at)
        if models == ():
            return
        self._digests.add(hashed)
        self._names.add(name)
        self.keys.append(self._key(name, hashed, models, team, cells, line))
        self._report.mapped(line, at, f"[keys.{name}] with its digest: its holder notices nothing")
        self._report_rest(cells, name, line, at)

    def _key(
        self,
        name: str,
        hashed: str,
        models: tuple[str, ...] | None,
        team: ImportedTeam | None,
        cells: Mapping[str, str],
        line: int,
    ) -> ImportedKey:
        at = f"key {name}"
        return ImportedKey(
            name,
            hashed,
            rate_limit=count_of("rpm_limit", cells, line, at, self._report),
            tokens=count_of("tpm_limit", cells, line, at, self._report, 10**12),
            concurrent=count_of("max_parallel_requests", cells, line, at, self._report),
            models=models,
            team=team.name if team is not None else "",
            budget=budget_in(cells, line, at, f"[keys.{name}]", self._report),
            model_budgets=model_budgets_in(cells, line, at, f"[keys.{name}]", self._report),
        )

    def _team(self, cells: Mapping[str, str], line: int, at: str) -> ImportedTeam | None:
        """Its team, or the one that stands for its user."""
        team = self._known.teams.of_key(cells, line, at)
        if team is None:
            return self._known.users.of_key(cells, line, at)
        self._report.mapped(line, f"{at}.team_id", f"team = {team.name}")
        return team

    def _report_rest(self, cells: Mapping[str, str], name: str, line: int, at: str) -> None:
        if not is_empty(cells.get("expires", "")):
            text = "keys do not expire here: take it out of the file then"
            self._report.changed(line, f"{at}.expires", text)
        report_spend(cells, line, at, f"key:{name}", self._report)
        for column, reason in _REPORTED.items():
            if not is_empty(cells.get(column, "")):
                self._report.left_out(line, f"{at}.{column}", reason)

    def _digest(self, token: str, line: int, at: str) -> str:
        if _HEX.fullmatch(token):
            return token.lower()
        self._report.changed(line, at, "its token was kept in the open: its digest is taken")
        return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()

    def _unusable(self, cells: Mapping[str, str]) -> str | None:
        if not cells.get("token"):
            return "it has no token"
        if is_true(cells.get("blocked", "")):
            return "it is blocked"
        if cells.get("max_budget") and dollars(cells["max_budget"]) == 0:
            return "its budget is 0, so it may call nothing"
        if cells.get("team_id") == "litellm-dashboard":
            return "it is a session of LiteLLM's own page"
        expires = cells.get("expires", "")
        if is_empty(expires):
            return None
        try:
            at = datetime.fromisoformat(re.sub(r"([+-]\d\d)$", r"\1:00", expires))
        except ValueError:
            return "its time of expiry cannot be read"
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return "it has expired" if at <= self._now else None

    def _models(self, cell: str, team: ImportedTeam | None, line: int, at: str) -> tuple[str, ...] | None:
        """The models of a key; ``None``: all; ``()``: none, so that the key is left out."""
        names = listed(cell)
        if names is None:
            self._report.left_out(line, at, "its models cannot be read")
            return ()
        if "no-default-models" in names:
            self._report.left_out(line, at, "it may call no model")
            return ()
        if "all-team-models" in names and (team is None or not team.models):
            text = "it may call the models of its team, which no table lists (--teams)"
            self._report.left_out(line, at, text)
            return ()
        for group in (name for name in names if name in self._groups):
            self._report.mapped(line, f"{at}.models", f"the access group {group} as its models")
        own, shared = self._expanded(names), self._expanded(team.models if team is not None else ())
        models = common_models(own, shared)
        if models == ():
            self._report.left_out(line, at, "it may call no model that its team or its user may call")
        return models

    def _expanded(self, names: Iterable[str]) -> tuple[str, ...] | None:
        """The names with those of access groups; ``None``: all models."""
        given = [name for name in names if name != "all-team-models"]
        if "no-default-models" in given:
            return ()
        if not given or "all-proxy-models" in given or "*" in given:
            return None
        models = [model for name in given for model in self._groups.get(name, (name,))]
        return tuple(dict.fromkeys(name for name in models if name.strip() and name.isprintable()))


def common_models(own: tuple[str, ...] | None, shared: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The models that a key and its team may both call, as LiteLLM asks both; ``None``: all."""
    if own is None or shared is None:
        return own if shared is None else shared
    allowed = frozenset(shared)
    return tuple(name for name in own if name in allowed or fits_any(name, allowed))


def _is_digest(text: str) -> bool:
    try:
        Digest("").parse(text)
    except InvalidValue:
        return False
    return True
