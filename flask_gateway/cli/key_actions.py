"""The actions of ``keys`` on issued keys: create, list, show, edit, rotate, disable, enable, revoke."""

from __future__ import annotations

import re
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from .command import FOUND, OK, Examples, add_config, add_json, print_json

if TYPE_CHECKING:
    from .admin_client import AdminApi

_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_TIMES = {"": 1, "k": 1000, "m": 1_000_000}
#: The actions that take one key and nothing else.
_PLAIN = {
    "disable": "refuse its calls until it is enabled; calls in flight finish",
    "enable": "let a disabled key call again",
    "revoke": "refuse it for ever, and end its calls in flight",
}
#: Two examples of each action.
EXAMPLES: Mapping[str, Examples] = {
    "create": (
        ("flask-gateway keys create --name web --models 'gpt-4o*' --expires 90d", "issue a key for 90 days"),
        ("flask-gateway keys create --name ci --tokens 100k --budget 50/month", "issue one with limits"),
    ),
    "list": (
        ("flask-gateway keys list --team search --spend", "the keys of a team, and what each has spent"),
        ("flask-gateway keys list --state active --csv", "all that are valid, for a spreadsheet"),
    ),
    "show": (
        ("flask-gateway keys show web", "the key with this name: its limits, and what it has spent"),
        ("flask-gateway keys show web --url https://gateway.example.org", "the same at a running gateway"),
    ),
    "disable": (
        ("flask-gateway keys disable web", "refuse its calls from now on"),
        ("flask-gateway keys disable web --url https://gateway.example.org", "at a running gateway"),
    ),
    "enable": (
        ("flask-gateway keys enable web", "take its calls again"),
        ("flask-gateway keys enable web --url https://gateway.example.org", "at a running gateway"),
    ),
    "revoke": (
        ("flask-gateway keys revoke web", "end it for ever, and its streams"),
        ("flask-gateway keys revoke web --url https://gateway.example.org", "at a running gateway"),
    ),
    "edit": (
        ("flask-gateway keys edit web --tokens 200k --expires never", "change two things, keep the others"),
        ("flask-gateway keys edit web --models '*'", "let it call every model"),
    ),
    "rotate": (
        ("flask-gateway keys rotate web", "make a new secret; the old one is valid for 24 hours more"),
        ("flask-gateway keys rotate web --overlap 0", "end the old one now"),
    ),
    "import": (
        ("flask-gateway keys import keys.csv", "issue the keys of LiteLLM's table; holders keep theirs"),
        ("flask-gateway keys import keys.csv --json", "the same, with a report for programs"),
    ),
}


def add_actions(actions: Any) -> None:
    """Add the parsers of the actions."""
    create = _parser(actions, "create", "issue a key; it is shown once")
    create.usage = "%(prog)s [options]"
    _fields(create)
    create.add_argument("--sha256", metavar="HEX", help="the digest of a key that you keep to yourself")
    listing = _parser(actions, "list", "list issued keys")
    for name in ("team", "owner", "tag", "state", "q"):
        listing.add_argument(f"--{name}", metavar=name.upper(), help=f"only those with this {name}")
    listing.add_argument("--spend", action="store_true", help="show what each has spent, in US dollars")
    listing.add_argument("--csv", action="store_true", help="print CSV")
    for name, does in {"show": "show an issued key", **_PLAIN}.items():
        _parser(actions, name, does).add_argument("key", metavar="KEY", help="its id or its name")
    edit = _parser(actions, "edit", "change an issued key; what is not given stays")
    edit.usage = "%(prog)s KEY [options]"
    edit.add_argument("key", metavar="KEY", help="its id or its name")
    _fields(edit)
    importing = _parser(actions, "import", "issue a key for each row of LiteLLM's table of keys")
    importing.add_argument("file", metavar="FILE", help="the table LiteLLM_VerificationToken, as CSV or JSON")
    rotate = _parser(actions, "rotate", "give a key another secret; the old one stays valid for a while")
    rotate.add_argument("key", metavar="KEY", help="its id or its name")
    rotate.add_argument("--overlap", type=duration, default=86400, metavar="24h", help="default: 24h")


def _parser(actions: Any, name: str, does: str) -> ArgumentParser:
    parser: ArgumentParser = actions.add_parser(name, help=does, allow_abbrev=False)
    add_connection(parser)
    return parser


def add_connection(parser: ArgumentParser) -> None:
    """Add the options that say which keys are meant."""
    where = "ask this gateway, by $GATEWAY_ADMIN_KEY, not the files"
    parser.add_argument("--url", metavar="URL", help=where)
    add_config(parser)
    add_json(parser)


def _fields(parser: ArgumentParser) -> None:
    parser.add_argument("--name", help="unique among the keys that are not revoked")
    parser.add_argument("--owner", help="for lists")
    parser.add_argument("--team", help="the name of a team; '' for none")
    parser.add_argument("--note", help="for lists")
    parser.add_argument("--tag", action="append", type=_tag, metavar="NAME=VALUE", help="may be repeated")
    parser.add_argument("--models", metavar="A,B*", help="the models it may call; '*' for all")
    parser.add_argument("--requests", type=count, metavar="N", help="requests per minute")
    parser.add_argument("--tokens", type=count, metavar="100k", help="tokens per minute")
    parser.add_argument("--concurrent", type=count, metavar="N", help="calls at once")
    parser.add_argument("--budget", action="append", type=_budget, metavar="50/month", help="may be repeated")
    parser.add_argument("--expires", type=_moment, metavar="90d", help="90d, 2027-01-31, or never")


def count(text: str) -> int:
    """A whole number, with ``k`` or ``M`` for thousands or millions."""
    match = re.fullmatch(r"(\d{1,12})([km]?)", text.lower())
    if match is None:
        raise ArgumentTypeError(f"expected a whole number such as 500 or 100k, not {text!r}")
    return int(match[1]) * _TIMES[match[2]]


def duration(text: str) -> int:
    """Seconds of a duration such as ``90d``, ``24h`` or ``0``."""
    match = re.fullmatch(r"(\d{1,6})([mhdw])|0", text)
    if match is None:
        raise ArgumentTypeError(f"expected a duration such as 24h or 90d, not {text!r}")
    return int(match[1]) * _SECONDS[match[2]] if match[1] else 0


def _moment(text: str) -> int | str:
    """Epoch seconds of a date or of a duration from now; ``never`` as it is."""
    if text == "never" or re.fullmatch(r"\d+[mhdw]", text):
        return text if text == "never" else int(time.time()) + duration(text)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"expected 90d, a date such as 2027-01-31, or never, not {text!r}") from None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())


def _tag(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ArgumentTypeError(f"expected NAME=VALUE, not {text!r}")
    return name, value


def _budget(text: str) -> dict[str, str]:
    amount, slash, window = text.partition("/")
    if not slash:
        raise ArgumentTypeError(f"expected AMOUNT/WINDOW such as 50/month, not {text!r}")
    return {"amount": amount, "window": window}


def run(arguments: Namespace, environ: Mapping[str, str]) -> int:
    """Run one of the actions."""
    from .admin_client import Refused, admin_api

    try:
        api = admin_api(arguments.url, environ)
        return _ACTIONS[arguments.action](api, arguments)
    except Refused as refused:
        print(f"flask-gateway: {refused}", file=sys.stderr)
        return FOUND


def _create(api: AdminApi, arguments: Namespace) -> int:
    body = body_of(arguments, {})
    if arguments.sha256:
        body["sha256"] = arguments.sha256
    return _show_new(api.ask("POST", "/keys", body), arguments)


def _rotate(api: AdminApi, arguments: Namespace) -> int:
    path = f"/keys/{_id(api, arguments)}/rotate"
    return _show_new(api.ask("POST", path, {"overlap": arguments.overlap}), arguments)


def _show_new(made: dict[str, Any], arguments: Namespace) -> int:
    """Print a key that has a new secret: the secret on standard error, so that a file does not get it."""
    if arguments.json:
        print_json(made)
        return OK
    if made["secret"]:
        print(f"The key, shown only now: {made['secret']}", file=sys.stderr)
    print(_line(made))
    return OK


def _list(api: AdminApi, arguments: Namespace) -> int:
    wanted = {name: getattr(arguments, name) for name in ("team", "owner", "tag", "state", "q")}
    wanted |= {"limit": "500", "with": "spend" if arguments.spend else None}
    query = urlencode({name: text for name, text in wanted.items() if text})
    keys, after = [], ""
    while True:
        page = api.ask("GET", f"/keys?{query}{after}")
        keys += page["data"]
        if not page["has_more"]:
            break
        after = f"&after={page['last_id']}"
    print_keys(keys, arguments)
    return OK


def print_keys(keys: list[dict[str, Any]], arguments: Namespace) -> None:
    """Print a list of keys as text, CSV or JSON."""
    if arguments.json:
        print_json({"keys": keys})
    elif arguments.csv:
        print("\n".join(csv_lines(keys)))
    else:
        print("\n".join(map(_line, keys)) or "There are no such keys.")


def csv_lines(keys: list[dict[str, Any]]) -> list[str]:
    """The keys as lines of CSV. A spreadsheet runs no cell of them."""
    names = ("id", "name", "state", "team", "owner", "created_at", "expires_at", "note")
    rows = [[*(key[name] for name in names), *(key.get("spend") or {}).values()] for key in keys]
    spent = [f"spend_{window}" for window in next(iter(keys), {}).get("spend") or ()]
    return [",".join([*names, *spent]), *(",".join(map(_cell, row)) for row in rows)]


def _cell(value: object) -> str:
    """A cell of CSV. A cell that would be a formula begins with an apostrophe (OWASP, CSV injection)."""
    text = "" if value is None else str(value).replace("\r", " ").replace("\n", " ")
    if text.startswith(("=", "+", "-", "@", "\t")):
        text = f"'{text}"
    return '"{}"'.format(text.replace('"', '""')) if re.search(r'[",\s]', text) else text


def _line(key: Mapping[str, Any]) -> str:
    hints = ", ".join(secret["hint"] or "(its digest alone)" for secret in key["secrets"])
    team = f"team {key['team']}" if key["team"] else ""
    ends = key["expires_at"]
    until = f"until {datetime.fromtimestamp(ends, UTC):%Y-%m-%d %H:%M}Z" if ends else ""
    spend = key.get("spend") or {}
    spent = f"{spend['month']} USD this month, {spend['total']} in total" if spend else ""
    parts = (key["id"], key["name"] or "-", key["state"], team, until, hints, spent)
    return "  ".join(part for part in parts if part)


def _import(api: AdminApi, arguments: Namespace) -> int:
    from .key_import import run_import

    return run_import(api, arguments)


def _show(api: AdminApi, arguments: Namespace) -> int:
    print_json(api.ask("GET", f"/keys/{_id(api, arguments)}?with=spend"))
    return OK


def _edit(api: AdminApi, arguments: Namespace) -> int:
    identity = _id(api, arguments)
    body = body_of(arguments, api.ask("GET", f"/keys/{identity}")["limits"])
    return _show_changed(api.ask("PATCH", f"/keys/{identity}", body), arguments)


def _disable(api: AdminApi, arguments: Namespace) -> int:
    path = f"/keys/{_id(api, arguments)}/{arguments.action}"
    return _show_changed(api.ask("POST", path), arguments)


def _revoke(api: AdminApi, arguments: Namespace) -> int:
    return _show_changed(api.ask("DELETE", f"/keys/{_id(api, arguments)}"), arguments)


def _show_changed(key: dict[str, Any], arguments: Namespace) -> int:
    print_json(key) if arguments.json else print(_line(key))
    return OK


def _id(api: AdminApi, arguments: Namespace) -> str:
    from .admin_client import id_of

    return quote(id_of(api, arguments.key))


def body_of(arguments: Namespace, limits: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that were given.

    :param limits: those that the key has. The given ones replace single ones of them.
    """
    given = {name: getattr(arguments, name) for name in ("name", "owner", "team", "note")}
    body = {name: value for name, value in given.items() if value is not None}
    if arguments.tag:
        body["tags"] = dict(arguments.tag)
    if arguments.models is not None:
        names = [name.strip() for name in arguments.models.split(",") if name.strip()]
        body["models"] = None if names == ["*"] else names
    if arguments.expires is not None:
        body["expires_at"] = None if arguments.expires == "never" else arguments.expires
    numbers = {name: getattr(arguments, name) for name in ("requests", "tokens", "concurrent")}
    new = {name: value for name, value in numbers.items() if value is not None}
    new |= {"budgets": arguments.budget} if arguments.budget else {}
    if new:
        body["limits"] = {**limits, **new}
    return body


_ACTIONS = {
    "create": _create,
    "list": _list,
    "show": _show,
    "edit": _edit,
    "rotate": _rotate,
    "disable": _disable,
    "enable": _disable,
    "revoke": _revoke,
    "import": _import,
}
