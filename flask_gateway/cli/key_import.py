"""``keys import``: issues keys for the rows of LiteLLM's table of keys. Their holders keep their keys.

LiteLLM stores the SHA-256 of a key in the column ``token``, as 64 hex digits, and so does the gateway.
"""

from __future__ import annotations

import re
import sys
from argparse import Namespace
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import ROUND_UP, Decimal
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..model.money import NANO
from .command import FOUND, LOOK, OK, print_json
from .import_litellm.budgets import Unbudgeted, budget_of
from .import_litellm.cells import UnreadableTable, is_empty, listed, rows_of
from .terminal import ProgressLine

if TYPE_CHECKING:
    from .admin_client import AdminApi

_HEX = re.compile(r"[0-9a-fA-F]{64}")
_NAME = re.compile(r"[^A-Za-z0-9._-]+")
#: LiteLLM's columns of whole numbers, by our limits.
_LIMITS = {"requests": "rpm_limit", "tokens": "tpm_limit", "concurrent": "max_parallel_requests"}
#: The columns that are left out where they hold something.
_LEFT_OUT = ("model_max_budget", "allowed_routes", "aliases", "permissions", "organization_id")


class Unusable(Exception):
    """A row that becomes no key. The text says why."""


def run_import(api: AdminApi, arguments: Namespace) -> int:
    """Issue a key for each row, and report those that could not be issued."""
    try:
        rows = [row for _, row in rows_of(Path(arguments.file).read_text(encoding="utf-8-sig"))]
    except (OSError, UnicodeDecodeError, UnreadableTable) as error:
        print(f"flask-gateway: {arguments.file}: {error}", file=sys.stderr)
        return FOUND
    teams = {team["name"] for team in api.ask("GET", "/teams")["data"]}
    with ProgressLine("rows", len(rows)) as progress:
        reports = [_stepped(progress, report_of(api, row, teams)) for row in rows]
    if arguments.json:
        print_json({"rows": reports})
    else:
        for report in reports:
            notes = "; ".join(report["notes"])
            print(f"{report['name']}: {report['id'] or 'NOT IMPORTED'}{f' ({notes})' if notes else ''}")
    if not all(report["id"] for report in reports):
        return FOUND
    return LOOK if any(report["notes"] for report in reports) else OK


def _stepped(progress: ProgressLine, report: dict[str, Any]) -> dict[str, Any]:
    progress.step()
    return report


def report_of(api: AdminApi, row: Mapping[str, str], teams: set[str]) -> dict[str, Any]:
    """Issue the key of a row.

    :param teams: the names of the teams that are there.
    :returns: ``name``, ``id`` (``None``: it became no key) and ``notes``.
    """
    from .admin_client import Refused

    name = row.get("key_alias", "") or row.get("token", "")[:8]
    notes: list[str] = []
    try:
        body = body_of_row(row, notes)
        team = body.get("team")
        if team and team not in teams:
            _make_team(api, team, notes)
            teams.add(team)
        identity = api.ask("POST", "/keys", body)["id"]
        if row.get("blocked", "").lower() in ("t", "true", "1", "yes"):
            api.ask("POST", f"/keys/{identity}/disable")
            notes.append("it is blocked, so it is disabled")
        _carry_spend(api, identity, row.get("spend", "").strip(), notes)
    except (Unusable, Refused) as error:
        return {"name": name, "id": None, "notes": [str(error)]}
    return {"name": name, "id": identity, "notes": notes}


def _make_team(api: AdminApi, team: str, notes: list[str]) -> None:
    """Make a team, unless the settings file has it."""
    from .admin_client import Refused

    try:
        api.ask("PUT", f"/teams/{team}", {"note": "from LiteLLM"})
        notes.append(f"its team {team} was made, without limits")
    except Refused as refused:
        if refused.code != "set_in_file":
            raise


def _carry_spend(api: AdminApi, identity: str, spend: str, notes: list[str]) -> None:
    """Charge a key with what it has spent before, in its present windows. The files alone cannot do that."""
    from .admin_client import Refused

    if is_empty(spend):
        return
    try:
        amount = Decimal(spend).quantize(Decimal(1) / NANO, ROUND_UP)
        if amount <= 0:
            return
        charge = {"subject": f"key:{identity}", "amount": f"{amount:f}", "note": "spend at LiteLLM"}
        api.ask("POST", "/adjustments", charge)
    except (Refused, ArithmeticError):
        notes.append(f"its spend of {spend[:40]} is left out: with --url it counts")


def body_of_row(row: Mapping[str, str], notes: list[str]) -> dict[str, Any]:
    """The fields of a key for a row.

    :param notes: gets what is different from LiteLLM.
    :raises Unusable: the row cannot become a key.
    """
    cells = {name: value.strip() for name, value in row.items()}
    body: dict[str, Any] = {
        "sha256": _digest(cells.get("token", ""), notes),
        "hint": cells.get("key_name", ""),
    }
    if alias := _NAME.sub("-", cells.get("key_alias", "")).strip("._-")[:56]:
        body["name"] = alias
    if not is_empty(cells.get("team_id", "")):
        body["team"] = _NAME.sub("-", cells["team_id"]).strip("._-")[:56]
    if not is_empty(cells.get("user_id", "")):
        body["owner"] = cells["user_id"]
    if models := _models(cells.get("models", "")):
        body["models"] = models
    if not is_empty(cells.get("expires", "")):
        body["expires_at"] = _moment(cells["expires"])
    if limits := _limits(cells, notes):
        body["limits"] = limits
    notes += [f"{name} is left out" for name in _LEFT_OUT if not is_empty(cells.get(name, ""))]
    return body


def _digest(token: str, notes: list[str]) -> str:
    if not token:
        raise Unusable("it has no token")
    if _HEX.fullmatch(token):
        return token.lower()
    notes.append("its token was kept in the open: its digest is taken")
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _models(cell: str) -> list[str]:
    """The models of a key; none: every model."""
    names = listed(cell)
    if names is None:
        raise Unusable("its models cannot be read")
    if "no-default-models" in names or "all-team-models" in names:
        raise Unusable("its models are those of its team, or none: say which")
    return [] if {"all-proxy-models", "*"} & set(names) else list(dict.fromkeys(names))


def _moment(text: str) -> int:
    try:
        at = datetime.fromisoformat(re.sub(r"([+-]\d\d)$", r"\1:00", text))
    except ValueError:
        raise Unusable("its time of expiry cannot be read") from None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())


def _limits(cells: Mapping[str, str], notes: list[str]) -> dict[str, Any]:
    limits: dict[str, Any] = {}
    for name, column in _LIMITS.items():
        text = cells.get(column, "").removesuffix(".0")
        if is_empty(text) and text != "0":
            continue
        if not text.isdecimal() or not int(text[:15]):
            raise Unusable(f"its {column} is not a positive whole number")
        limits[name] = int(text[:15])
    amount, duration = cells.get("max_budget", ""), cells.get("budget_duration", "")
    if not is_empty(amount) or amount in ("0", "0.0"):
        limits["budgets"] = [_budget(amount, "" if is_empty(duration) else duration, notes)]
    return limits


def _budget(amount: str, duration: str, notes: list[str]) -> dict[str, str]:
    try:
        budget = budget_of(amount, duration)
    except Unbudgeted as reason:
        raise Unusable(f"its max_budget: {reason}") from None
    if budget.note:
        notes.append(f"its budget of a {budget.window}: {budget.note}")
    return budget.table
