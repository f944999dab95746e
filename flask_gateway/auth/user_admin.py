"""Sets and removes limits of single end users: ``user_limits`` of a team or of a key, one name at a time."""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec

from ..config.limits_syntax import key_limits_of, team_limits_of
from ..config.schema import Settings
from ..model.errors import InvalidField
from ..model.limits import OwnerLimits
from . import key_tables as tables
from .key_admin import apply_edit
from .key_body import KeyFields, TeamFields, UserFields, checked_key, checked_team
from .key_changes import Actor, KeyChanges, OneChange
from .key_ring import What
from .key_views import conflict, missing, team_object

#: The longest name of an end user, characters, as callers send it.
_MOST_NAME = 64


class UserAdmin:
    """Changes the limits of end users of teams and keys in the database. Others are in the settings file.

    All methods raise ``CallerError`` where the request cannot be served, and ``KeysUnavailable`` where the
    database cannot be changed now.
    """

    def __init__(self, changes: KeyChanges, settings: Settings) -> None:
        self._changes, self._settings = changes, settings

    def put(self, actor: Actor, owner: str, name: str, fields: UserFields) -> None:
        """Give an end user these limits instead of those that each end user of the owner has.

        An owner that did not tell end users apart does so from now on.

        :param owner: the name of a team, or the id of a key without one.
        """
        if not 0 < len(name) <= _MOST_NAME or not name.isprintable():
            raise InvalidField(f"name: expected 1 to {_MOST_NAME} printable characters", param="name")

        def add(limits: dict[str, Any]) -> dict[str, Any]:
            users = {**limits.get("user_limits", {}), name: fields.limits}
            return {"users": True, **limits, "user_limits": users}

        with self._changes.change(actor) as step:
            self._write(step, owner, "put_user", add)

    def delete(self, actor: Actor, owner: str, name: str) -> None:
        """Let an end user have the limits that each end user of the owner has."""

        def remove(limits: dict[str, Any]) -> dict[str, Any]:
            users = dict(limits.get("user_limits", {}))
            if users.pop(name, None) is None:
                raise missing(f"The end user '{name[:200]}' has no limits of its own.", "user_not_found")
            rest = {field: value for field, value in limits.items() if field != "user_limits"}
            return {**rest, "user_limits": users} if users else rest

        with self._changes.change(actor) as step:
            self._write(step, owner, "delete_user", remove)

    def _write(self, step: OneChange, owner: str, action: str, edit: Any) -> None:
        team, key = tables.teams(step.db).get(owner), tables.key_by_id(step.db, owner)
        if owner in self._settings.teams or owner in {one.id for one in self._settings.keys}:
            raise conflict(
                f"'{owner[:200]}' is set in the settings file: write user_limits there.", "set_in_file"
            )
        if team is not None:
            fields = TeamFields(note=team["note"], limits=edit(msgspec.json.decode(team["limits"])))
            columns = checked_team(fields, self._settings)
            tables.put_team(step.db, {"name": owner, "now": step.now, **columns})
            after = team_object(tables.teams(step.db)[owner])
            step.audit(action, f"team:{owner}", team_object(team), after)
            step.touched(0, What.LOOK)
        elif key is not None:
            changed = KeyFields(limits=edit(msgspec.json.decode(key.limits)))
            row = msgspec.structs.replace(
                key, **checked_key(changed, self._settings, tables.teams(step.db), step.now)
            )
            apply_edit(step, key, action, lambda _step, _row: row, What.LOOK)
        else:
            raise missing(f"There is no team and no key '{owner[:200]}'.", "owner_not_found")


def policy_of_owner(db: sqlite3.Connection, settings: Settings, owner: str) -> OwnerLimits:
    """Return the limits of a team or a key, of the settings or of the database.

    :raises CallerError: there is none. :raises InvalidValue: this version cannot read its limits.
    """
    if owner in settings.teams:
        return settings.teams[owner]
    for key in settings.keys:
        if key.id == owner:
            return key.policy
    team, row = tables.teams(db).get(owner), tables.key_by_id(db, owner)
    if team is not None:
        return team_limits_of(msgspec.json.decode(team["limits"]))
    if row is not None:
        return key_limits_of(msgspec.json.decode(row.limits)).policy
    raise missing(f"There is no team and no key '{owner[:200]}'.", "owner_not_found")


_KINDS = {"key": "key with the id", "team": "team", "user": "team and no key with the id"}


def require_owner(db: sqlite3.Connection, settings: Settings, subject: str) -> None:
    """Require that the key or the team of a subject is there. Models and all calls always are.

    :raises CallerError: there is none, so no call has that subject.
    """
    kind, _, rest = subject.partition(":")
    owner = rest.partition("/")[0]
    is_key = any(key.id == owner for key in settings.keys) or tables.key_by_id(db, owner) is not None
    is_team = owner in settings.teams or owner in tables.teams(db)
    if {"key": is_key, "team": is_team, "user": is_key or is_team}.get(kind, True):
        return
    named = tables.key_by_name(db, owner)
    hint = f" The key of that name is key:{named.id}." if named is not None else ""
    raise missing(f"subject: there is no {_KINDS[kind]} '{owner}'.{hint}", "subject_not_found")
