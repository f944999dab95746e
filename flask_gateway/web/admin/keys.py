"""Serves ``/admin/v1/keys``, ``/admin/v1/teams`` and ``/admin/v1/audit``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from flask import Response, request

from ...app.limit_usage import spend_of, usage_of_caller
from ...auth import key_tables as tables
from ...auth.key_admin import KeyAdmin, Made, existing
from ...auth.key_body import KeyFields, NewKeyFields, RotateFields, TeamFields, parsed
from ...auth.key_pages import AUDIT_FILTERS, KEY_FILTERS, audit_page, key_page, page
from ...auth.key_rows import team_limits
from ...auth.key_views import key_object, missing, team_object
from ...auth.live_keys import caller_of_row
from ...auth.team_admin import TeamAdmin
from ...model.errors import InvalidField
from ..json_response import json_response
from ..request_state import gateway
from .access import blueprint
from .changes import actor, body, changes
from .parameters import arguments_of
from .spend import add_spend, with_spend

_VERSION = re.compile(r'(?:W/)?"?([0-9]{1,15})"?', re.ASCII)


def _keys() -> KeyAdmin:
    return KeyAdmin(changes(), gateway().settings)


def _teams() -> TeamAdmin:
    return TeamAdmin(changes(), gateway().settings)


def _shown(made: Made, status: int) -> Response:
    answer = json_response({**made.key, "secret": made.secret})
    answer.status_code = status
    return _uncached(answer, made.key)


def _uncached(answer: Response, key: Mapping[str, Any]) -> Response:
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["ETag"] = f'"{key["version"]}"'
    return answer


@blueprint.post("/keys", provide_automatic_options=False)
def create_key() -> Response:
    made = _keys().create(actor(), parsed(body(), NewKeyFields), request.headers.get("Idempotency-Key"))
    return _shown(made, 201 if made.created else 200)


@blueprint.get("/keys", provide_automatic_options=False)
def list_keys() -> Response:
    wanted = arguments_of(*KEY_FILTERS, "with")
    spend = with_spend(wanted["with"])
    with changes().reading() as (db, now):
        shown = key_page(db, wanted, now)
    return json_response(add_spend(shown) if spend else shown)


@blueprint.get("/keys/<path:identity>", provide_automatic_options=False)
def show_key(identity: str) -> Response:
    spend = with_spend(arguments_of("with")["with"])
    with changes().reading() as (db, now):
        name = identity.removeprefix("by-name/")
        row = tables.key_by_name(db, name) if name != identity else existing(db, identity)
        if row is None:
            raise missing(f"There is no key with the name '{name[:200]}'.", "key_not_found")
        shown = key_object(row, tables.secrets_of(db, row.number), now)
        teams = team_limits(db)
    if spend:
        caller = caller_of_row(row, teams, gateway().settings)
        shown["spend"] = spend_of(gateway(), f"key:{row.id}")
        shown["usage"] = usage_of_caller(gateway(), caller, money=True)
    return _uncached(json_response(shown), shown)


@blueprint.patch("/keys/<path:identity>", provide_automatic_options=False)
def edit_key(identity: str) -> Response:
    shown = _keys().edit(actor(), identity, parsed(body(), KeyFields), _expected_version())
    return _uncached(json_response(shown), shown)


@blueprint.delete("/keys/<path:identity>", provide_automatic_options=False)
def revoke_key(identity: str) -> Response:
    shown = _keys().set_state(actor(), identity, "revoke", end_streams=_ends_streams("end"))
    return _uncached(json_response(shown), shown)


@blueprint.put("/keys/by-name/<path:name>", provide_automatic_options=False)
def put_key(name: str) -> Response:
    made = _keys().put_named(actor(), name, parsed(body(), NewKeyFields))
    return _shown(made, 201 if made.created else 200)


@blueprint.post("/keys/<path:identity>/rotate", provide_automatic_options=False)
def rotate_key(identity: str) -> Response:
    return _shown(_keys().rotate(actor(), identity, parsed(body(), RotateFields)), 200)


@blueprint.post("/keys/<path:identity>/disable", provide_automatic_options=False)
def disable_key(identity: str) -> Response:
    shown = _keys().set_state(actor(), identity, "disable", end_streams=_ends_streams("finish"))
    return _uncached(json_response(shown), shown)


@blueprint.post("/keys/<path:identity>/enable", provide_automatic_options=False)
def enable_key(identity: str) -> Response:
    arguments_of()
    shown = _keys().set_state(actor(), identity, "enable", end_streams=False)
    return _uncached(json_response(shown), shown)


@blueprint.get("/teams", provide_automatic_options=False)
def list_teams() -> Response:
    arguments_of()
    with changes().reading() as (db, _now):
        teams = [team_object(team) for team in tables.teams(db).values()]
    return json_response(page(teams, "name", more=False))


@blueprint.get("/teams/<path:name>", provide_automatic_options=False)
def show_team(name: str) -> Response:
    with changes().reading() as (db, _now):
        team = tables.teams(db).get(name)
    if team is None:
        raise missing(f"There is no team '{name[:200]}' that was made here.", "team_not_found")
    return json_response(team_object(team))


@blueprint.put("/teams/<path:name>", provide_automatic_options=False)
def put_team(name: str) -> Response:
    return json_response(_teams().put(actor(), name, parsed(body(), TeamFields)))


@blueprint.delete("/teams/<path:name>", provide_automatic_options=False)
def delete_team(name: str) -> Response:
    revoke = _one_of("revoke_keys", arguments_of("revoke_keys")["revoke_keys"], ("false", "true")) == "true"
    _teams().delete(actor(), name, revoke_keys=revoke)
    return json_response({"object": "team.deleted", "name": name, "deleted": True})


@blueprint.get("/audit", provide_automatic_options=False)
def list_audit() -> Response:
    wanted = arguments_of(*AUDIT_FILTERS)
    with changes().reading() as (db, _now):
        return json_response(audit_page(db, wanted))


def _one_of(name: str, text: str | None, values: tuple[str, str]) -> str:
    if text is None:
        return values[0]
    if text not in values:
        raise InvalidField(f"{name}: expected {' or '.join(values)}", param=name)
    return text


def _ends_streams(usual: str) -> bool:
    """Whether calls in flight end, by the parameter ``streams``."""
    other = "finish" if usual == "end" else "end"
    return _one_of("streams", arguments_of("streams")["streams"], (usual, other)) == "end"


def _expected_version() -> int | None:
    """The version in ``If-Match`` (RFC 9110, 13.1.1); ``None``: any."""
    given = request.headers.get("If-Match")
    if given is None or given.strip() == "*":
        return None
    match = _VERSION.fullmatch(given.strip())
    if match is None:
        raise InvalidField('If-Match: expected the version of the key, such as "3"', param="If-Match")
    return int(match[1])
