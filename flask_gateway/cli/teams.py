"""``teams``: the teams of issued keys: list, put, delete."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from .command import EX_CONFIG, FOUND, OK, USAGE, Command, print_json
from .key_actions import add_connection

if TYPE_CHECKING:
    from .admin_client import AdminApi


def _arguments(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")
    listing = actions.add_parser("list", help="list the teams that were made here", allow_abbrev=False)
    putting = actions.add_parser("put", help="make a team, or give it exactly these", allow_abbrev=False)
    deleting = actions.add_parser("delete", help="delete a team", allow_abbrev=False)
    for one in (listing, putting, deleting):
        add_connection(one)
    for one in (putting, deleting):
        one.add_argument("name", metavar="NAME", help="the name of the team")
    putting.add_argument("--note", default="", help="for lists")
    putting.add_argument(
        "--limits", default="{}", metavar="JSON", help='as [teams.NAME] has them: {"tokens": 400000}'
    )
    deleting.add_argument("--revoke-keys", action="store_true", help="revoke its keys, too")


def _run(arguments: Namespace, environ: Mapping[str, str]) -> int:
    from .admin_client import Refused, admin_api

    try:
        return _ACTIONS[arguments.action](admin_api(arguments.url, environ), arguments)
    except Refused as refused:
        print(f"flask-gateway: {refused}", file=sys.stderr)
        return FOUND


def _list(api: AdminApi, arguments: Namespace) -> int:
    teams: list[dict[str, Any]] = api.ask("GET", "/teams")["data"]
    if arguments.json:
        print_json({"teams": teams})
        return OK
    lines = [f"{team['name']}  {json.dumps(team['limits'])}  {team['note']}".rstrip() for team in teams]
    print("\n".join(lines) or "There are no teams but those of the settings file.")
    return OK


def _put(api: AdminApi, arguments: Namespace) -> int:
    try:
        limits = json.loads(arguments.limits)
    except (ValueError, RecursionError):
        print("flask-gateway: --limits: expected a JSON object", file=sys.stderr)
        return USAGE
    team = api.ask("PUT", f"/teams/{quote(arguments.name)}", {"note": arguments.note, "limits": limits})
    print_json(team) if arguments.json else print(f"{team['name']}  {json.dumps(team['limits'])}")
    return OK


def _delete(api: AdminApi, arguments: Namespace) -> int:
    query = "?revoke_keys=true" if arguments.revoke_keys else ""
    gone = api.ask("DELETE", f"/teams/{quote(arguments.name)}{query}")
    print_json(gone) if arguments.json else print(f"{gone['name']} is deleted.")
    return OK


_ACTIONS = {"list": _list, "put": _put, "delete": _delete}

COMMAND = Command(
    _arguments,
    _run,
    (
        ("flask-gateway teams put search --limits '{\"tokens\": 400000}'", "make a team with a limit"),
        ("flask-gateway teams delete search --revoke-keys", "delete it, and revoke its keys"),
    ),
    {OK: "done", FOUND: "the request was refused", EX_CONFIG: "a setting is invalid"},
    {
        "list": (
            ("flask-gateway teams list", "a line for each team, with its limits"),
            ("flask-gateway teams list --json", "the same for programs"),
        ),
        "put": (
            (
                "flask-gateway teams put search --limits '{\"tokens\": 400000}'",
                "400 000 tokens a minute in all",
            ),
            ("flask-gateway teams put search --note 'Anna, room 4'", "no limits, and a note"),
        ),
        "delete": (
            ("flask-gateway teams delete search", "delete a team that has no keys"),
            ("flask-gateway teams delete search --revoke-keys", "delete it, and revoke its keys"),
        ),
    },
)
