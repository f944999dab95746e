"""Makes and changes issued keys for an admin: create, edit, rotate, disable, enable, revoke."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET

from ..config.schema import Settings
from ..model.errors import InvalidField
from . import key_tables as tables
from .idempotency import earlier, remember
from .key_body import (
    KeyFields,
    NewKeyFields,
    RotateFields,
    checked_digest,
    checked_key,
    checked_name,
    with_team_defaults,
)
from .key_changes import Actor, KeyChanges, OneChange
from .key_form import hint_of, new_id, new_key
from .key_ring import What
from .key_tables import KeyRow
from .key_views import conflict, key_object, missing, version_mismatch

#: The most secrets of a key that are valid at the same time, and the longest overlap of a rotation, seconds.
MOST_SECRETS, LONGEST_OVERLAP = 4, 90 * 86400
#: The columns of a key of which no field was sent.
_EMPTY: dict[str, Any] = {"name": None, "owner": "", "team": "", "note": "", "expires_at": None} | {
    "tags": "{}",
    "models": "null",
    "limits": "{}",
}
#: The state of a key after each action.
STATES = {"enable": "active", "disable": "disabled", "revoke": "revoked"}

#: Returns the row of a key after a change. It may write other tables in the same transaction.
_Edit = Callable[[OneChange, KeyRow], KeyRow]


class Made(NamedTuple):
    """A key, and the secret that was made for it; ``None``: none was, or it was shown before.

    :param created: whether the key is new.
    """

    key: dict[str, Any]
    secret: str | None
    created: bool = True


class _Secret(NamedTuple):
    """A secret to store. ``text`` is ``None`` where its creator keeps it to itself."""

    text: str | None
    digest: bytes
    hint: str


class KeyAdmin:
    """Changes the issued keys. It keeps no state, so threads may share it.

    All methods raise ``CallerError`` where the request cannot be served, and ``KeysUnavailable`` where the
    database cannot be changed now.

    :param settings: limits, teams and secrets are checked against them.
    """

    def __init__(self, changes: KeyChanges, settings: Settings) -> None:
        self._changes, self._settings = changes, settings

    def create(self, actor: Actor, fields: NewKeyFields, token: str | None = None) -> Made:
        """Make a key.

        :param token: a second request with the same one makes no second key, for 24 hours.
        """
        secret = _secret(fields.sha256, fields.hint)
        request = sha256(msgspec.json.encode(fields)).digest()
        with self._changes.change(actor) as step:
            if token and (before := earlier(step, token, request)):
                return Made(before, None, created=False)
            shown = self._add(step, fields, secret)
            if token:
                remember(step, token, request, shown)
        return Made(shown, secret.text)

    def put_named(self, actor: Actor, name: str, fields: NewKeyFields) -> Made:
        """Make the key of that name, or give it exactly those fields. Only a new key gets a secret."""
        secret = _secret(fields.sha256, fields.hint)
        fields.name = checked_name("name", name)
        with self._changes.change(actor) as step:
            row = tables.key_by_name(step.db, name)
            if row is None:
                return Made(self._add(step, fields, secret), secret.text)
            columns = _EMPTY | checked_key(fields, self._settings, tables.teams(step.db), step.now)
            shown = apply_edit(step, row, "edit", lambda _, row: _with(row, columns), What.LOOK)
        return Made(shown, None, created=False)

    def edit(self, actor: Actor, identity: str, fields: KeyFields, version: int | None) -> dict[str, Any]:
        """Change the fields that were sent, and no others.

        :param version: refuse if the key has another one; ``None``: do not check.
        """

        def edit(step: OneChange, row: KeyRow) -> KeyRow:
            if version is not None and version != row.version:
                raise version_mismatch(row.version)
            columns = checked_key(fields, self._settings, tables.teams(step.db), step.now)
            if columns.get("name", row.name) != row.name:
                _refuse_taken(step.db, columns["name"])
            return _with(row, columns)

        return self._change(actor, identity, "edit", edit, What.LOOK)

    def set_state(self, actor: Actor, identity: str, action: str, *, end_streams: bool) -> dict[str, Any]:
        """Enable, disable or revoke a key.

        :param action: one of :data:`STATES`. :param end_streams: end its calls in flight.
        """
        what = What.LOOK if action == "enable" else What.END if end_streams else What.BLOCK
        return self._change(
            actor, identity, action, lambda _, row: _with(row, {"state": STATES[action]}), what
        )

    def rotate(self, actor: Actor, identity: str, fields: RotateFields) -> Made:
        """Give a key another secret. Those before it stay valid for the overlap."""
        if not 0 <= fields.overlap <= LONGEST_OVERLAP:
            raise InvalidField("overlap: expected 0 to 7776000 seconds", param="overlap")
        secret = _secret(fields.sha256, UNSET)

        def edit(step: OneChange, row: KeyRow) -> KeyRow:
            tables.end_secrets(step.db, row.number, step.now + fields.overlap, step.now)
            live = [one for one in tables.secrets_of(step.db, row.number) if (one.ends_at or 0) > step.now]
            if len(live) >= MOST_SECRETS:
                raise conflict(f"The key has {MOST_SECRETS} valid secrets already.", "too_many_secrets")
            self._add_secret(step, row.number, secret)
            return row

        return Made(self._change(actor, identity, "rotate", edit, What.LOOK), secret.text)

    def _change(self, actor: Actor, identity: str, action: str, edit: _Edit, what: What) -> dict[str, Any]:
        with self._changes.change(actor) as step:
            return apply_edit(step, existing(step.db, identity), action, edit, what)

    def _add(self, step: OneChange, fields: NewKeyFields, secret: _Secret) -> dict[str, Any]:
        teams = tables.teams(step.db)
        complete = with_team_defaults(fields, self._settings, teams)
        columns = _EMPTY | checked_key(complete, self._settings, teams, step.now)
        _refuse_taken(step.db, columns["name"])
        identity = new_id()
        tables.add_key(step.db, {**columns, "id": identity, "created_at": step.now, "state": "active"})
        row = existing(step.db, identity)
        self._add_secret(step, row.number, secret)
        shown = key_object(row, tables.secrets_of(step.db, row.number), step.now)
        step.audit("create", identity, None, shown)
        step.touched(row.number, What.LOOK)
        return shown

    def _add_secret(self, step: OneChange, number: int, secret: _Secret) -> None:
        taken = conflict("That secret is another key's already.", "secret_taken")
        settings = self._settings
        others = {key.digest for key in settings.keys} | {admin.digest for admin in settings.admins}
        if secret.digest in others | {settings.metrics_digest}:
            raise taken
        try:
            tables.add_secret(step.db, number, secret.digest, secret.hint, step.now)
        except sqlite3.IntegrityError:
            raise taken from None


def existing(db: sqlite3.Connection, identity: str) -> KeyRow:
    """:raises CallerError: there is no such key."""
    row = tables.key_by_id(db, identity)
    if row is None:
        raise missing(
            f"There is no key with the id '{identity[:200]}'. "
            "/admin/v1/keys/by-name/NAME finds one by its name.",
            "key_not_found",
        )
    return row


def apply_edit(step: OneChange, row: KeyRow, action: str, edit: _Edit, what: What) -> dict[str, Any]:
    """Change a key, and return how it is now.

    :param edit: returns the row after the change. :raises CallerError: the key is revoked.
    """
    if row.state == "revoked" and action != "revoke":
        raise conflict("The key is revoked, and a revoked key never changes.", "key_is_revoked")
    before = key_object(row, tables.secrets_of(step.db, row.number), step.now)
    tables.change_key(step.db, edit(step, row))
    after = key_object(existing(step.db, row.id), tables.secrets_of(step.db, row.number), step.now)
    step.audit(action, row.id, before, after)
    step.touched(row.number, what)
    return after


def _with(row: KeyRow, columns: dict[str, Any]) -> KeyRow:
    return msgspec.structs.replace(row, **columns)


def _secret(digest: str | msgspec.UnsetType, hint: str | msgspec.UnsetType) -> _Secret:
    if isinstance(digest, str):
        return _Secret(None, checked_digest(digest), hint[:40] if isinstance(hint, str) else "")
    text = new_key()
    return _Secret(text, sha256(text.encode()).digest(), hint_of(text))


def _refuse_taken(db: sqlite3.Connection, name: str | None) -> None:
    if name and tables.key_by_name(db, name):
        raise conflict(f"There is a key with the name '{name}' already.", "name_taken")
