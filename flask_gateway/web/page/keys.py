"""Serves ``/ui/keys``: the keys with what they spent; an admin makes, disables, enables and revokes them."""

from __future__ import annotations

import secrets
import time
from typing import Any

from flask import Response, request

from ...auth import key_tables
from ...auth.key_admin import KeyAdmin, existing
from ...auth.key_body import NewKeyFields
from ...auth.key_changes import Actor
from ...auth.key_pages import key_page
from ...auth.key_views import key_object, team_object
from ...model.errors import InvalidField, LedgerUnavailable
from ..admin.changes import changes
from ..admin.spend import add_spend
from ..client_address import shown_address_of
from ..request_state import gateway, request_state
from .access import form, redirect, tell, visitor
from .rendering import action, as_json, page, query, render

#: The filters of the list that the page passes on.
_FILTERS = ("team", "state", "q", "after")


def _admin() -> KeyAdmin:
    return KeyAdmin(changes(), gateway().settings)


def _actor() -> Actor:
    return Actor(visitor().name, request_state().ids.request, shown_address_of(request.environ))


@page("keys")
def list_keys() -> Response:
    wanted = _wanted()
    found, teams, trouble = _found(wanted)
    settings = gateway().settings
    return render(
        "keys.html",
        title="Keys and teams",
        formats={"JSON": f"keys.json?{query(**wanted)}"},
        wanted=wanted,
        keys=found["data"],
        more=found["last_id"] if found["has_more"] else None,
        teams=teams,
        trouble=trouble,
        of_file=settings.keys,
        teams_of_file=sorted(settings.teams),
        token=f"{time.time():.0f}.{secrets.token_urlsafe(12)}",
    )


@page("keys.json")
def keys_json() -> Response:
    found, teams, trouble = _found(_wanted())
    more = {"has_more": found["has_more"], "last_id": found["last_id"]}
    return as_json(found["data"], teams=teams, trouble=trouble or None, **more)


def _wanted() -> dict[str, str]:
    return {name: request.args.get(name, "").strip()[:200] for name in _FILTERS}


def _found(wanted: dict[str, str]) -> tuple[dict[str, Any], list[dict[str, Any]], str]:
    """A page of the keys with what they spent, all teams, and why the spending is not known."""
    with changes().reading() as (db, now):
        found = key_page(db, {name: text or None for name, text in wanted.items()}, now)
        teams = [team_object(team) for team in key_tables.teams(db).values()]
    try:
        return add_spend(found), teams, ""
    except LedgerUnavailable as error:
        return found, teams, error.message


def _key() -> dict[str, Any]:
    """The key that the URL names."""
    with changes().reading() as (db, now):
        row = existing(db, request.args.get("id", ""))
        return key_object(row, key_tables.secrets_of(db, row.number), now)


@page("key")
def show_key() -> Response:
    key = _key()
    formats = {"JSON": f"key.json?{query(id=key['id'])}"}
    return render("key.html", title=f"Key {key['name'] or key['id']}", key=key, formats=formats)


@page("key.json")
def key_json() -> Response:
    return as_json(_key())


@action("create-key")
def create_key() -> Response:
    sent = form()
    token = sent.get("token", "")
    made = _admin().create(_actor(), fields_of(sent, _shown_at(token)), token or None)
    if made.created:
        tell("made the key", made.key["name"] or made.key["id"])
    return render("new-key.html", title="The new key", key=made.key, secret=made.secret)


def _shown_at(token: str) -> float:
    """When the form was shown, seconds since the epoch: sent again, it must ask for the same key."""
    at, now = token.partition(".")[0], time.time()
    return float(at) if at.isascii() and at.isdigit() and 0 <= now - int(at) < 86400 else now


def fields_of(sent: dict[str, str], now: float) -> NewKeyFields:
    """Read the form of a new key.

    :param now: seconds since the epoch.
    :raises InvalidField: a field has another form. The rest is checked as the body of an admin's request is.
    """
    fields = NewKeyFields(name=sent.get("name", "").strip() or None, limits=_limits(sent))
    if team := sent.get("team", "").strip():
        fields.team = team
    if models := [name for name in sent.get("models", "").replace(",", " ").split() if name]:
        fields.models = models
    if note := sent.get("note", "").strip():
        fields.note = note
    if expires := _number(sent, "days"):
        fields.expires_at = int(now) + 86400 * expires
    return fields


def _limits(sent: dict[str, str]) -> dict[str, Any]:
    numbers = {name: _number(sent, name) for name in ("requests", "tokens", "concurrent")}
    limits: dict[str, Any] = {name: number for name, number in numbers.items() if number}
    if budget := sent.get("budget", "").strip():
        limits["budgets"] = [{"amount": budget, "window": "month"}]
    return limits


def _number(sent: dict[str, str], name: str) -> int:
    text = sent.get(name, "").strip()
    if text and not (text.isascii() and text.isdigit() and len(text) < 12):
        raise InvalidField(f"{name}: expected a whole number, or nothing for no limit", param=name)
    return int(text or 0)


@action("key-state")
def change_key() -> Response:
    sent = form()
    identity, what = sent.get("id", ""), sent.get("do", "")
    if what not in ("enable", "disable", "revoke"):
        raise InvalidField("do: expected enable, disable or revoke", param="do")
    with changes().reading() as (db, _now):
        name = existing(db, identity).name or identity
    if what == "revoke" and sent.get("confirm", "").strip() != name:
        raise InvalidField(f"To revoke the key for ever, type its name: {name}.", param="confirm")
    _admin().set_state(_actor(), identity, what, end_streams=what == "revoke")
    tell(f"{what}d the key", name)
    return redirect(f"key?{query(id=identity)}")
