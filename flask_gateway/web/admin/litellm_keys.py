"""Serves the key and team paths of LiteLLM Proxy, where ``compat`` names ``litellm``: those fields that map.

Programs that make keys there make them here with an admin's key. https://docs.litellm.ai/docs/proxy/virtual_keys
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from flask import Flask, Response

from ...app.limit_usage import spend_of
from ...auth import key_tables as tables
from ...auth.key_admin import KeyAdmin
from ...auth.key_body import KeyFields, NewKeyFields, RotateFields, TeamFields
from ...auth.key_pages import whole
from ...auth.key_tables import KeyRow
from ...auth.key_views import key_object, missing, team_object
from ...auth.litellm_fields import (
    LiteLLMKey,
    LiteLLMTeam,
    digest_of,
    key_fields,
    key_shown,
    limits_of,
    limits_shown,
    own_secret,
    read,
)
from ...auth.team_admin import TeamAdmin
from ...model.errors import InvalidField
from ..json_response import json_response
from ..request_state import gateway
from .changes import actor, body, changes
from .parameters import arguments_of

#: How far ``/key/list`` reaches. ``/admin/v1/keys`` lists all.
MOST_LISTED, MOST_PAGE = 10_000, 100


class _Keys(msgspec.Struct):
    """Which keys are deleted."""

    keys: list[str] = []
    key_aliases: list[str] = []


def register(app: Flask) -> None:
    """Add the paths. Their endpoints are an admin's."""
    for method, path, view in _VIEWS:
        app.add_url_rule(
            path,
            endpoint=f"gateway_admin.{view.__name__}",
            view_func=view,
            methods=[method],
            provide_automatic_options=False,
        )


def _keys() -> KeyAdmin:
    return KeyAdmin(changes(), gateway().settings)


def _row(given: str | None, alias: str | None = None) -> KeyRow:
    """The key that is given by itself, its digest, its id or its alias."""
    if not given and not alias:
        raise InvalidField("key: expected a key, or its token", param="key")
    with changes().reading() as (db, _now):
        row = tables.key_by_name(db, alias) if alias else None
        if given:
            row = tables.key_by_id(db, given) or tables.key_by_digest(db, digest_of(given))
    if row is None:
        raise missing("There is no such key.", "key_not_found")
    return row


def _shown(row: KeyRow) -> dict[str, Any]:
    with changes().reading() as (db, now):
        secrets = tables.secrets_of(db, row.number)
        row = tables.key_by_id(db, row.id) or row
    spend = spend_of(gateway(), f"key:{row.id}") or {}
    token = secrets[-1].digest.hex() if secrets else None
    return key_shown(key_object(row, secrets, now), token, spend.get("total"))


def _unset(fields: Mapping[str, Any], kind: type[KeyFields]) -> Any:
    return msgspec.convert(fields, kind)


def generate_key() -> Response:
    fields, sent = read(body(), LiteLLMKey)
    wanted = key_fields(fields, sent, {}) | own_secret(fields.key)
    made = _keys().create(actor(), _unset(wanted, NewKeyFields))
    if fields.blocked:
        _keys().set_state(actor(), made.key["id"], "disable", end_streams=False)
    shown = _shown(_row(made.key["id"]))
    return json_response({**shown, "key": made.secret or fields.key, "token_id": shown["token"]})


def update_key() -> Response:
    fields, sent = read(body(), LiteLLMKey)
    row = _row(fields.key)
    wanted = key_fields(fields, sent - {"key"}, msgspec.json.decode(row.limits))
    _keys().edit(actor(), row.id, _unset(wanted, KeyFields), None)
    if "blocked" in sent and fields.blocked is not None:
        _keys().set_state(actor(), row.id, "disable" if fields.blocked else "enable", end_streams=False)
    return json_response({"key": fields.key, **_shown(row)})


def show_litellm_key() -> Response:
    given = arguments_of("key")["key"]
    return json_response({"key": given, "info": _shown(_row(given))})


def block_key() -> Response:
    return _blocked("disable")


def unblock_key() -> Response:
    return _blocked("enable")


def _blocked(action: str) -> Response:
    row = _row(read(body(), LiteLLMKey)[0].key)
    _keys().set_state(actor(), row.id, action, end_streams=False)
    return json_response(_shown(row))


def delete_keys() -> Response:
    asked, _ = read(body(), _Keys)
    rows = [_row(key) for key in asked.keys] + [_row(None, alias) for alias in asked.key_aliases]
    for row in rows:
        _keys().set_state(actor(), row.id, "revoke", end_streams=True)
    return json_response({"deleted_keys": [*asked.keys, *asked.key_aliases]})


def regenerate_key(key: str | None = None) -> Response:
    """A new key in place of the old one, which ends at once, as there."""
    fields, sent = read(body(), LiteLLMKey)
    row = _row(key or fields.key)
    if wanted := key_fields(fields, sent - {"key"}, msgspec.json.decode(row.limits)):
        _keys().edit(actor(), row.id, _unset(wanted, KeyFields), None)
    made = _keys().rotate(actor(), row.id, RotateFields(overlap=0))
    return json_response({**_shown(row), "key": made.secret})


def list_litellm_keys() -> Response:
    wanted = arguments_of("page", "size", "team_id", "user_id", "key_alias", "return_full_object")
    size = whole("size", wanted["size"], 10, MOST_PAGE)
    number = whole("page", wanted["page"], 1, MOST_LISTED // size)
    filters: dict[str, Any] = dict.fromkeys(("state", "tag", "tag_value", "q"))
    filters |= {"team": wanted["team_id"], "owner": wanted["user_id"], "after": 0, "limit": number * size + 1}
    with changes().reading() as (db, _now):
        alias = wanted["key_alias"]
        found = [tables.key_by_name(db, alias)] if alias else list(tables.keys_after(db, filters))
    rows = [row for row in found[(number - 1) * size : number * size] if row is not None]
    shown = [_shown(row) for row in rows]
    full = wanted["return_full_object"] == "true"
    keys = shown if full else [one["token"] for one in shown]
    return json_response({"keys": keys, "current_page": number, "has_more": len(found) > number * size})


def create_litellm_team() -> Response:
    fields, sent = read(body(), LiteLLMTeam)
    name = fields.team_id or fields.team_alias
    if not name:
        raise InvalidField("team_id: expected the name of the team, here or in team_alias", param="team_id")
    limits = limits_of(fields, sent, {})
    made = TeamAdmin(changes(), gateway().settings).put(actor(), name, TeamFields(limits=limits))
    return json_response(_team(made))


def show_litellm_team() -> Response:
    name = arguments_of("team_id")["team_id"] or ""
    with changes().reading() as (db, _now):
        team = tables.teams(db).get(name)
        if team is None:
            raise missing(f"There is no team '{name[:200]}' that was made here.", "team_not_found")
        filters: dict[str, Any] = dict.fromkeys(("owner", "state", "tag", "tag_value", "q"))
        rows = tables.keys_after(db, {**filters, "team": name, "after": 0, "limit": MOST_PAGE})
    spend = spend_of(gateway(), f"team:{name}") or {}
    info = {**_team(team_object(team)), "spend": float(spend["total"]) if spend else None}
    return json_response({"team_id": name, "team_info": info, "keys": [_shown(row) for row in rows]})


def _team(team: Mapping[str, Any]) -> dict[str, Any]:
    return {"team_id": team["name"], "team_alias": team["name"], **limits_shown(team["limits"])}


_VIEWS = (
    ("POST", "/key/generate", generate_key),
    ("POST", "/key/update", update_key),
    ("POST", "/key/delete", delete_keys),
    ("POST", "/key/block", block_key),
    ("POST", "/key/unblock", unblock_key),
    ("POST", "/key/regenerate", regenerate_key),
    ("POST", "/key/<key>/regenerate", regenerate_key),
    ("GET", "/key/info", show_litellm_key),
    ("GET", "/key/list", list_litellm_keys),
    ("POST", "/team/new", create_litellm_team),
    ("GET", "/team/info", show_litellm_team),
)
