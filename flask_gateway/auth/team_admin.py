"""Makes, changes and deletes teams for an admin."""

from __future__ import annotations

from typing import Any

import msgspec

from ..config.schema import Settings
from . import key_tables as tables
from .key_admin import existing
from .key_body import TeamFields, checked_name, checked_team
from .key_changes import Actor, KeyChanges, OneChange
from .key_ring import What
from .key_views import conflict, missing, team_object


class TeamAdmin:
    """Changes the teams of the database. Those of the settings file are changed there.

    All methods raise ``CallerError`` where the request cannot be served, and ``KeysUnavailable`` where the
    database cannot be changed now.
    """

    def __init__(self, changes: KeyChanges, settings: Settings) -> None:
        self._changes, self._settings = changes, settings

    def put(self, actor: Actor, name: str, fields: TeamFields) -> dict[str, Any]:
        """Make a team, or give it exactly those fields."""
        checked_name("team", name)
        if name in self._settings.teams:
            raise conflict(f"The team '{name}' is set in the settings file: change it there.", "set_in_file")
        columns = checked_team(fields, self._settings)
        with self._changes.change(actor) as step:
            before = tables.teams(step.db).get(name)
            tables.put_team(step.db, {"name": name, "now": step.now, **columns})
            after = team_object(tables.teams(step.db)[name])
            step.audit("put_team", f"team:{name}", before and team_object(before), after)
            step.touched(0, What.LOOK)
        return after

    def delete(self, actor: Actor, name: str, *, revoke_keys: bool) -> None:
        """Delete a team.

        :param revoke_keys: revoke its keys with it, and end their calls; otherwise it must have none.
        """
        with self._changes.change(actor) as step:
            before = tables.teams(step.db).get(name)
            if before is None:
                raise missing(f"There is no team '{name[:200]}' that was made here.", "team_not_found")
            live = tables.live_keys_of(step.db, name)
            if live and not revoke_keys:
                message = f"The team has {len(live)} keys. Move them, or add ?revoke_keys=true."
                raise conflict(message, "team_has_keys")
            for identity in live:
                _revoke(step, identity)
            tables.delete_team(step.db, name)
            step.audit("delete_team", f"team:{name}", team_object(before), None)
            step.touched(0, What.LOOK)


def _revoke(step: OneChange, identity: str) -> None:
    row = existing(step.db, identity)
    tables.change_key(step.db, msgspec.structs.replace(row, state="revoked"))
    step.audit("revoke", identity, {"state": row.state}, {"state": "revoked"})
    step.touched(row.number, What.END)
