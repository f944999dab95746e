"""Reads and checks what an admin sends about a key or a team. Unknown fields are mistakes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from ..config.errors import InvalidValue
from ..config.limits_checks import refused_of_key, refused_of_team
from ..config.limits_syntax import TAGS, key_limits_of, team_limits_of
from ..config.schema import Settings
from ..config.secrets import Digest
from ..config.value_types import UPSTREAM_NAME, Name
from ..model.errors import InvalidField

#: The most bytes of a body, and of the limits, the models and the note in it.
MOST_BODY = 64 * 1024
_MOST_TEXT = 8 * 1024
_MOST_MODELS = 200
_NAME = Name(UPSTREAM_NAME)
_LONGEST = 200


class KeyFields(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The fields of a key that an admin sets. Those that are not sent stay as they are.

    :param models: names of models, ``*`` standing for any text; ``None``: every model.
    :param limits: as ``[keys.X]`` has them. :param expires_at: epoch seconds; ``None``: never.
    """

    name: str | UnsetType | None = UNSET
    owner: str | UnsetType = UNSET
    team: str | UnsetType | None = UNSET
    tags: dict[str, Any] | UnsetType = UNSET
    note: str | UnsetType = UNSET
    models: list[str] | UnsetType | None = UNSET
    limits: dict[str, Any] | UnsetType = UNSET
    expires_at: int | UnsetType | None = UNSET


class NewKeyFields(KeyFields, kw_only=True):
    """The fields of a new key.

    :param sha256: the digest of a key that its creator keeps to itself, hex; the gateway then makes none.
    :param hint: for lists, instead of the key's beginning and end.
    """

    sha256: str | UnsetType = UNSET
    hint: str | UnsetType = UNSET


class RotateFields(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """:param overlap: for how long the old secrets stay valid, seconds."""

    overlap: int = 86400
    sha256: str | UnsetType = UNSET


class TeamFields(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """All fields of a team. :param limits: as ``[teams.X]`` has them."""

    note: str = ""
    limits: dict[str, Any] = {}


class UserFields(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """:param limits: of the end user, as ``user_limits`` has them."""

    limits: dict[str, Any]


Fields = TypeVar("Fields")


def parsed(body: bytes, kind: type[Fields]) -> Fields:
    """Decode a body; an empty one has no fields.

    :raises InvalidField: it is no JSON of that kind.
    """
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidField(f"The body does not fit: {str(error)[:_LONGEST]}.") from None


def checked_key(fields: KeyFields, settings: Settings, teams: Mapping[str, Any], now: int) -> dict[str, Any]:
    """Return the columns of the database for the fields that were sent.

    :param teams: the teams in the database by name.
    :raises InvalidField: a field cannot be used; ``param`` names it.
    """
    columns: dict[str, Any] = {}
    for name in KeyFields.__struct_fields__:
        value = getattr(fields, name)
        if value is not UNSET:
            columns[name] = _CHECKS[name](value, settings, teams, now)
    return columns


def with_team_defaults(fields: KeyFields, settings: Settings, teams: Mapping[str, Any]) -> KeyFields:
    """Return the fields of a new key with the limits that its team gives new keys. Limits that were sent win.

    :param teams: the teams in the database by name.
    """
    team = fields.team
    if not isinstance(team, str) or not team:
        return fields
    if team in settings.teams:
        defaults = settings.teams[team].key_defaults
    else:
        defaults = msgspec.json.decode(teams.get(team, {}).get("limits", "{}")).get("key_defaults", {})
    sent = fields.limits if isinstance(fields.limits, dict) else {}
    return msgspec.structs.replace(fields, limits={**defaults, **sent}) if defaults else fields


def checked_team(fields: TeamFields, settings: Settings) -> dict[str, Any]:
    """Return the columns of a team.

    :raises InvalidField: a field cannot be used.
    """
    try:
        policy = team_limits_of(fields.limits)
    except InvalidValue as unfit:
        raise _unfit("limits", unfit) from None
    if reason := refused_of_team(policy, settings):
        raise InvalidField(f"limits: {reason}", param="limits")
    return {"note": _text("note", fields.note), "limits": _json("limits", fields.limits)}


def checked_digest(sha256: str) -> bytes:
    """:raises InvalidField: this is no SHA-256 digest in hex, or that of an empty text."""
    try:
        return Digest("the SHA-256 digest of a key, as 64 hex digits").parse(sha256)
    except InvalidValue as unfit:
        raise _unfit("sha256", unfit) from None


def checked_name(param: str, name: str) -> str:
    """:raises InvalidField: the name has other characters than names in the settings file."""
    try:
        return _NAME.parse(name)
    except InvalidValue as unfit:
        raise _unfit(param, unfit) from None


def _name(value: str | None, settings: Settings, teams: Mapping[str, Any], now: int) -> str | None:
    return None if value is None else checked_name("name", value)


def _team(value: str | None, settings: Settings, teams: Mapping[str, Any], now: int) -> str:
    if value and value not in teams and value not in settings.teams:
        raise InvalidField(
            f"There is no team '{value[:_LONGEST]}'. PUT /admin/v1/teams/NAME makes one.", param="team"
        )
    return value or ""


def _tags(value: dict[str, Any], settings: Settings, teams: Mapping[str, Any], now: int) -> str:
    try:
        return _json("tags", TAGS.check(value))
    except InvalidValue as unfit:
        raise _unfit("tags", unfit) from None


def _models(value: list[str] | None, settings: Settings, teams: Mapping[str, Any], now: int) -> str:
    if value is not None and not 0 < len(value) <= _MOST_MODELS:
        raise InvalidField(f"models: expected 1 to {_MOST_MODELS} names, or null for all", param="models")
    for name in value or ():
        if not name.strip() or not name.isprintable() or len(name) > _LONGEST:
            raise InvalidField("models: expected names of printable characters", param="models")
    return _json("models", value)


def _limits(value: dict[str, Any], settings: Settings, teams: Mapping[str, Any], now: int) -> str:
    try:
        policy = key_limits_of(value).policy
    except InvalidValue as unfit:
        raise _unfit("limits", unfit) from None
    if reason := refused_of_key(policy, settings):
        raise InvalidField(f"limits: {reason}", param="limits")
    return _json("limits", value)


def _expires_at(value: int | None, settings: Settings, teams: Mapping[str, Any], now: int) -> int | None:
    if value is not None and not now < value < 2**40:
        raise InvalidField(
            "expires_at: expected a moment in the future, in epoch seconds", param="expires_at"
        )
    return value


def _text(param: str, value: str) -> str:
    if (
        len(value.encode("utf-8", "replace")) > _MOST_TEXT
        or not re.sub(r"[\n\t]", " ", value + " ").isprintable()
    ):
        raise InvalidField(f"{param}: expected printable text of at most 8 KiB", param=param)
    return value


def _json(param: str, value: object) -> str:
    text = msgspec.json.encode(value).decode()
    if len(text) > _MOST_TEXT:
        raise InvalidField(f"{param}: expected at most 8 KiB of JSON", param=param)
    return text


def _unfit(param: str, unfit: InvalidValue) -> InvalidField:
    hint = f"; {unfit.hint}" if unfit.hint else ""
    return InvalidField(f"{param}: expected {unfit.expected}{hint}", param=param)


#: How each field of a key becomes a column.
_CHECKS: Mapping[str, Any] = {
    "name": _name,
    "owner": lambda value, *_: _text("owner", value),
    "team": _team,
    "tags": _tags,
    "note": lambda value, *_: _text("note", value),
    "models": _models,
    "limits": _limits,
    "expires_at": _expires_at,
}
