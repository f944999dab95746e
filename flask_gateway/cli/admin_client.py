"""Asks ``/admin/v1`` of a running gateway, or changes its files where none is asked.

Both ways take the same requests and give the same answers.
"""

from __future__ import annotations

import getpass
import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl, quote

import msgspec

from ..auth import key_tables as tables
from ..auth.key_admin import STATES, KeyAdmin, Made, existing
from ..auth.key_body import KeyFields, NewKeyFields, RotateFields, TeamFields, parsed
from ..auth.key_changes import Actor, KeyChanges
from ..auth.key_pages import audit_page, key_page, page
from ..auth.key_places import key_store_of
from ..auth.key_views import key_object, missing, team_object
from ..auth.team_admin import TeamAdmin
from ..config.errors import ConfigError
from ..config.load import resolve
from ..ledger import reports
from ..ledger.books import TROUBLE
from ..ledger.places import ledger_of
from ..model.calendar_windows import Calendar, zone
from ..model.errors import GatewayError
from ..state.memory import MemoryStore
from .running_gateway import NotAnswered
from .running_gateway import ask as answer_of
from .terminal import ProgressLine

#: The variable with an admin's key. Everybody on the machine can read a command line.
ADMIN_KEY = "GATEWAY_ADMIN_KEY"


class Refused(Exception):
    """The request failed. The text says why.

    :ivar code: of the gateway's error; empty: it has none.
    """

    def __init__(self, text: str, code: str | None = None) -> None:
        super().__init__(text)
        self.code = code or ""


class AdminApi(Protocol):
    """Answers requests to ``/admin/v1``."""

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """:param path: below ``/admin/v1``, with parameters. :raises Refused: it failed."""
        ...


def admin_api(url: str | None, environ: Mapping[str, str]) -> AdminApi:
    """The gateway at the URL; without one, the data directory of the settings.

    :raises Refused: there is no admin's key for the URL. :raises ConfigError: the settings name no directory.
    """
    if url is None:
        return OnFiles(environ)
    if not environ.get(ADMIN_KEY):
        raise Refused(f"--url needs an admin's key in ${ADMIN_KEY}")
    return OverHttp(url, environ[ADMIN_KEY])


class OverHttp:
    """A running gateway."""

    def __init__(self, url: str, key: str) -> None:
        if not url.startswith(("http://", "https://")):
            raise Refused(f"--url: expected a URL that begins with http:// or https://, not {url!r}")
        self._url, self._key = url.rstrip("/"), key

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send the request, and return the JSON of its answer."""
        try:
            return answer_of(self._url, self._key, f"/admin/v1{path}", method, body)
        except NotAnswered as error:
            raise Refused(str(error), error.code) from None


class OnFiles:
    """The data directory. A running gateway notices changes within two seconds."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        settings = resolve(environ).settings
        if settings.ledger.data is None:
            raise ConfigError("ledger.data", None, "a directory to keep the keys in", "or ask with --url")
        data = Path(settings.ledger.data)
        if data.exists() and data.stat().st_uid != os.geteuid():
            raise Refused(f"{data} belongs to another user: run this as that user, or ask with --url")
        store = MemoryStore()
        self._changes, self._ledger = KeyChanges(key_store_of(settings.ledger, store), store), settings.ledger
        self._keys, self._teams = KeyAdmin(self._changes, settings), TeamAdmin(self._changes, settings)
        self._actor = Actor(f"cli:{_user()}", "", "")

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Do what the gateway would do, and return what it would answer."""
        place, _, query = path.partition("?")
        wanted = dict(parse_qsl(query))
        data = msgspec.json.encode(body or {})
        for asked, pattern, answer in _ROUTES:
            match = re.fullmatch(pattern, place)
            if asked == method and match:
                try:
                    with ProgressLine():
                        return answer(self, data, wanted, *match.groups())
                except GatewayError as error:
                    raise Refused(error.message, error.code) from None
        raise Refused(f"there is nothing at {method} {place}")

    def _create(self, data: bytes, wanted: Mapping[str, str]) -> dict[str, Any]:
        return _made(self._keys.create(self._actor, parsed(data, NewKeyFields)))

    def _list(self, data: bytes, wanted: Mapping[str, str]) -> dict[str, Any]:
        with self._changes.reading() as (db, now):
            keys = key_page(db, wanted, now)
        return {**keys, "data": self._with_spend(wanted, *keys["data"])}

    def _show(self, data: bytes, wanted: Mapping[str, str], identity: str) -> dict[str, Any]:
        with self._changes.reading() as (db, now):
            row = existing(db, identity)
            shown = key_object(row, tables.secrets_of(db, row.number), now)
        (shown,) = self._with_spend(wanted, shown)
        return {**shown, "held": self._held(f"key:{row.id}")} if "spend" in shown else shown

    def _held(self, subject: str) -> str | None:
        """The money that the calls in flight of a subject hold; ``None`` where there is no ledger yet."""
        try:
            with closing(ledger_of(self._ledger).read()) as connection:
                return reports.held(connection, subject)
        except TROUBLE:
            return None

    def _with_spend(self, wanted: Mapping[str, str], *keys: dict[str, Any]) -> list[dict[str, Any]]:
        """The keys with what the ledger says of them, where that is asked for."""
        if wanted.get("with") != "spend":
            return list(keys)
        calendar = Calendar(zone(self._ledger.timezone), self._ledger.week_starts)
        names = [f"key:{key['id']}" for key in keys]
        try:
            with closing(ledger_of(self._ledger).read()) as connection:
                spent = reports.spend(connection, names, calendar.starts(time.time()))
        except TROUBLE:
            spent = {}  # no call has come yet
        return [{**key, "spend": spent.get(name)} for key, name in zip(keys, names, strict=True)]

    def _show_named(self, data: bytes, wanted: Mapping[str, str], name: str) -> dict[str, Any]:
        with self._changes.reading() as (db, now):
            row = tables.key_by_name(db, name)
            if row is None:
                raise missing(f"There is no key with the name '{name}'.", "key_not_found")
            return key_object(row, tables.secrets_of(db, row.number), now)

    def _edit(self, data: bytes, wanted: Mapping[str, str], identity: str) -> dict[str, Any]:
        return self._keys.edit(self._actor, identity, parsed(data, KeyFields), None)

    def _rotate(self, data: bytes, wanted: Mapping[str, str], identity: str) -> dict[str, Any]:
        return _made(self._keys.rotate(self._actor, identity, parsed(data, RotateFields)))

    def _revoke(self, data: bytes, wanted: Mapping[str, str], identity: str) -> dict[str, Any]:
        ends = wanted.get("streams", "end") == "end"
        return self._keys.set_state(self._actor, identity, "revoke", end_streams=ends)

    def _set_state(
        self, data: bytes, wanted: Mapping[str, str], identity: str, action: str
    ) -> dict[str, Any]:
        ends = wanted.get("streams") == "end"
        return self._keys.set_state(self._actor, identity, action, end_streams=ends)

    def _list_teams(self, data: bytes, wanted: Mapping[str, str]) -> dict[str, Any]:
        with self._changes.reading() as (db, _):
            return page([team_object(team) for team in tables.teams(db).values()], "name", more=False)

    def _put_team(self, data: bytes, wanted: Mapping[str, str], name: str) -> dict[str, Any]:
        return self._teams.put(self._actor, name, parsed(data, TeamFields))

    def _delete_team(self, data: bytes, wanted: Mapping[str, str], name: str) -> dict[str, Any]:
        self._teams.delete(self._actor, name, revoke_keys=wanted.get("revoke_keys") == "true")
        return {"object": "team.deleted", "name": name, "deleted": True}

    def _audit(self, data: bytes, wanted: Mapping[str, str]) -> dict[str, Any]:
        with self._changes.reading() as (db, _):
            return audit_page(db, wanted)


def _made(made: Made) -> dict[str, Any]:
    return {**made.key, "secret": made.secret}


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


_Answer = Callable[..., dict[str, Any]]
_KEY = r"/keys/(key_[a-z2-7]+)"
#: The answers of the files, by method and path.
_ROUTES: tuple[tuple[str, str, _Answer], ...] = (
    ("POST", "/keys", OnFiles._create),
    ("GET", "/keys", OnFiles._list),
    ("GET", _KEY, OnFiles._show),
    ("GET", "/keys/by-name/(.+)", OnFiles._show_named),
    ("PATCH", _KEY, OnFiles._edit),
    ("DELETE", _KEY, OnFiles._revoke),
    ("POST", f"{_KEY}/rotate", OnFiles._rotate),
    ("POST", f"{_KEY}/({'|'.join(STATES)})", OnFiles._set_state),
    ("GET", "/teams", OnFiles._list_teams),
    ("PUT", "/teams/(.+)", OnFiles._put_team),
    ("DELETE", "/teams/(.+)", OnFiles._delete_team),
    ("GET", "/audit", OnFiles._audit),
)


def id_of(api: AdminApi, given: str) -> str:
    """The id of a key that is given by id or name."""
    if re.fullmatch(r"key_[a-z2-7]{12}", given):
        return given
    found: str = api.ask("GET", f"/keys/by-name/{quote(given)}")["id"]
    return found
