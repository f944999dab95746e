"""Reads a CSV of LiteLLM's table of keys. Their holders go on with the keys that they have.

LiteLLM stores the SHA-256 of a key in the column ``token``, as 64 hex digits: our ``sha256``.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from hashlib import sha256

import msgspec

from ...config.errors import InvalidValue
from ...config.secrets import Digest
from .report import Report
from .values import Literal, VariableRef

_BUDGETS = "write budgets into [keys.NAME], once the price of each model is known (docs/money.md)"
#: The columns that are reported where they hold something.
_REPORTED = {
    "max_budget": _BUDGETS,
    "budget_duration": _BUDGETS,
    "spend": "the gateway counts from zero",
    "team_id": "write team into [keys.NAME], and the team's limits into [teams.NAME]",
    "budget_id": _BUDGETS,
    "model_max_budget": "write budgets into [keys.NAME] model_limits, once the price of each model is known",
    "model_spend": "the gateway counts from zero",
    "allowed_routes": "a key may use every operation",
    "aliases": "aliases of one key are not offered",
    "config": "settings of one key are not offered",
    "permissions": "permissions of one key are not offered",
    "organization_id": "organizations are not offered",
    "allowed_cache_controls": "a cache of answers is not offered",
}
_HEX = re.compile(r"[0-9a-fA-F]{64}")
_EMPTY = frozenset({"", "null", "none", "\\n", "{}", "[]", "0", "0.0"})
_NAME = re.compile(r"[^A-Za-z0-9._-]+")


class ImportedKey(msgspec.Struct, frozen=True):
    """A caller's key.

    :param digest: SHA-256 as hex; empty if ``place`` says where the key is.
    :param rate_limit: requests per minute. :param concurrent: calls at once.
    :param tokens: tokens per minute. ``None``: the general limit.
    :param models: the models that it may call; ``None``: all.
    """

    name: str
    digest: str = ""
    place: VariableRef | Literal | None = None
    rate_limit: int | None = None
    concurrent: int | None = None
    tokens: int | None = None
    models: tuple[str, ...] | None = None


class UnreadableTable(Exception):
    """The file is not a table of keys."""


def read_keys(
    text: str,
    source: str,
    groups: Mapping[str, tuple[str, ...]],
    known: Iterable[str],
    now: datetime,
    report: Report,
) -> list[ImportedKey]:
    """The keys in a CSV with a header.

    :param source: the name of the file, for findings. :param groups: the models of each access group.
    :param known: digests of keys that are there already, as hex.
    :param now: keys that have expired before are left out.
    :raises UnreadableTable: the file has no column ``token``, or is not CSV.
    """
    table = _Table(source, groups, known, now, report)
    for line, row in rows_of(text):
        table.add(line, row)
    return table.keys


def rows_of(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a table of keys in CSV, each with the number of its line.

    :raises UnreadableTable: the file has no column ``token``, or is not CSV.
    """
    try:
        rows = csv.DictReader(io.StringIO(text, newline=""))
        if "token" not in (rows.fieldnames or ()):
            raise UnreadableTable("its first line must name the columns, token among them")
        for row in rows:
            cells = {name: value for name, value in row.items() if isinstance(name, str)}
            yield rows.line_num, {name: value for name, value in cells.items() if isinstance(value, str)}
    except csv.Error:
        raise UnreadableTable("it is not a table in CSV") from None


def is_empty(cell: str) -> bool:
    """Whether a cell holds nothing, as PostgreSQL, JSON or CSV writes it."""
    return cell.lower() in _EMPTY


class _Table:
    def __init__(
        self,
        source: str,
        groups: Mapping[str, tuple[str, ...]],
        known: Iterable[str],
        now: datetime,
        report: Report,
    ) -> None:
        self._source, self._groups, self._now, self._report = source, groups, now, report
        self._names: set[str] = {"master"}
        self._digests = set(known)
        self.keys: list[ImportedKey] = []

    def add(self, line: int, row: Mapping[str, str | list[str] | None]) -> None:
        cells = {name: value.strip() for name, value in row.items() if isinstance(value, str)}
        token, name = cells.get("token", ""), self._name(cells, line)
        at = f"{self._source} {name}"
        if not token:
            self._report.left_out(line, at, "it has no token")
            return
        if reason := self._unusable(cells):
            self._report.left_out(line, at, reason)
            return
        hashed = token.lower()
        if not _HEX.fullmatch(token):
            self._report.changed(line, at, "its token was kept in the open: its digest is taken")
            hashed = sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
        if hashed in self._digests or not _is_digest(hashed):
            self._report.left_out(line, at, "another row has the same token, or it is that of an empty key")
            return
        models = self._models(cells.get("models", ""), line, at)
        if models == ():
            return
        self._digests.add(hashed)
        self._names.add(name)
        self.keys.append(
            ImportedKey(
                name,
                hashed,
                rate_limit=self._count("rpm_limit", cells, line, at),
                tokens=self._count("tpm_limit", cells, line, at, most=10**12),
                concurrent=self._count("max_parallel_requests", cells, line, at),
                models=models,
            )
        )
        self._report.mapped(line, at, f"[keys.{name}] with its digest: its holder notices nothing")
        if cells.get("expires", "").lower() not in _EMPTY:
            self._report.changed(
                line, f"{at}.expires", "keys do not expire here: take it out of the file then"
            )
        for column, reason in _REPORTED.items():
            if cells.get(column, "").lower() not in _EMPTY:
                self._report.left_out(line, f"{at}.{column}", reason)

    def _name(self, cells: Mapping[str, str], line: int) -> str:
        """A name for logs that no other key has."""
        given = cells.get("key_alias") or ""
        wanted = _NAME.sub("-", given).strip("._-")[:56] or f"key-{line}"
        name, number = wanted, 2
        while name in self._names:
            name, number = f"{wanted}-{number}", number + 1
        return name

    def _unusable(self, cells: Mapping[str, str]) -> str | None:
        if cells.get("blocked", "").lower() in ("t", "true", "1", "yes"):
            return "it is blocked"
        if cells.get("team_id") == "litellm-dashboard":
            return "it is a session of LiteLLM's own page"
        expires = cells.get("expires", "")
        if expires.lower() in _EMPTY:
            return None
        try:
            at = datetime.fromisoformat(re.sub(r"([+-]\d\d)$", r"\1:00", expires))
        except ValueError:
            return "its time of expiry cannot be read"
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return "it has expired" if at <= self._now else None

    def _count(
        self, column: str, cells: Mapping[str, str], line: int, at: str, most: int = 10_000_000
    ) -> int | None:
        given = cells.get(column, "").removesuffix(".0")
        if given.lower() in _EMPTY - {"0"}:
            return None
        if given.isascii() and given.isdecimal() and 0 < int(given[:15]) <= most:
            return int(given[:15])
        self._report.left_out(line, f"{at}.{column}", "it is not a positive whole number")
        return None

    def _models(self, cell: str, line: int, at: str) -> tuple[str, ...] | None:
        """The models of a key; ``None``: all; ``()``: none, so that the key is left out."""
        names = listed(cell)
        if names is None:
            self._report.left_out(line, at, "its models cannot be read")
            return ()
        if not names or "all-proxy-models" in names or "*" in names:
            return None
        if "no-default-models" in names:
            self._report.left_out(line, at, "it may call no model")
            return ()
        if "all-team-models" in names:
            self._report.left_out(
                line, at, "it may call the models of its team, which the table does not list"
            )
            return ()
        for group in (name for name in names if name in self._groups):
            self._report.mapped(line, f"{at}.models", f"the access group {group} as its models")
        models = [model for name in names for model in self._groups.get(name, (name,))]
        return tuple(dict.fromkeys(name for name in models if name.strip() and name.isprintable())) or ()


def listed(cell: str) -> list[str] | None:
    """The items of a list as PostgreSQL or JSON writes it; ``None`` if it is neither."""
    if cell.lower() in _EMPTY:
        return []
    if cell.startswith("[") and cell.endswith("]"):
        try:
            items = json.loads(cell)
        except (ValueError, RecursionError):
            return None
        return [item for item in items if isinstance(item, str)]
    if cell.startswith("{") and cell.endswith("}"):
        row = next(csv.reader([cell[1:-1]], escapechar="\\"), [])
        return [item.strip() for item in row]
    return [item.strip() for item in cell.split(",")]


def _is_digest(text: str) -> bool:
    try:
        Digest("").parse(text)
    except InvalidValue:
        return False
    return True
