"""Makes issued keys in a directory, without a gateway around them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flask_gateway.auth.key_admin import KeyAdmin, Made
from flask_gateway.auth.key_body import NewKeyFields
from flask_gateway.auth.key_changes import Actor, KeyChanges
from flask_gateway.auth.key_store import KeyStore
from flask_gateway.auth.team_admin import TeamAdmin
from flask_gateway.auth.user_admin import UserAdmin
from flask_gateway.state.store import Store
from kit.calls import make_settings

ACTOR = Actor("admin", "req-1", "192.0.2.1")


class Issuing:
    """The database of issued keys, and everything that changes it.

    :param changes: of the settings.
    """

    def __init__(self, data: Path, store: Store, **changes: Any) -> None:
        #: The present moment, epoch seconds.
        self.now = 1000.0
        self.settings = make_settings(**changes)
        self.keys, self.store = KeyStore(data), store
        self.changes = KeyChanges(self.keys, store, lambda: self.now)
        self.admin = KeyAdmin(self.changes, self.settings)
        self.teams = TeamAdmin(self.changes, self.settings)
        self.users = UserAdmin(self.changes, self.settings)

    def make(self, **fields: Any) -> Made:
        return self.admin.create(ACTOR, NewKeyFields(**fields))

    def state(self, made: Made, action: str, *, end_streams: bool = False) -> None:
        self.admin.set_state(ACTOR, made.key["id"], action, end_streams=end_streams)

    def actions(self) -> list[str]:
        """The actions and subjects of the audit, the oldest first."""
        with self.keys.reading() as db:
            rows = db.execute("SELECT action, subject FROM audit ORDER BY number").fetchall()
        return [f"{action} {subject}" for action, subject in rows]
