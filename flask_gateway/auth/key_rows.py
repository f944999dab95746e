"""Reads from the database of issued keys what a worker needs to know callers. All SQL is constant text."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from .key_ring import What

_KNOWN = """
SELECT secret.digest, key.number, key.id, key.state, key.expires_at, secret.ends_at,
    key.team, key.tags, key.models, key.limits
FROM secret JOIN key ON key.number = secret.key WHERE key.state != 'revoked'
"""
_KNOWN_OF = """
SELECT secret.digest, key.number, key.id, key.state, key.expires_at, secret.ends_at,
    key.team, key.tags, key.models, key.limits
FROM secret JOIN key ON key.number = secret.key WHERE key.state != 'revoked' AND key.number = ?
"""
_LAST = "SELECT coalesce(max(seq), 0) FROM change"
_LAST_ENTRY = "SELECT number, at, action, subject, request FROM audit ORDER BY number DESC LIMIT 1"
_ENTRY = "SELECT number, at, action, subject, request FROM audit WHERE number = ?"
_CHANGED = "SELECT key, max(ends_streams) FROM change WHERE seq > ? AND seq <= ? GROUP BY key"
_TEAMS = "SELECT name, limits FROM team"


class Grants(msgspec.Struct, frozen=True, gc=False):
    """The rights and limits of a key, as JSON texts. Keys with the same grants share one object.

    :param limits: as ``[keys.X]`` has them.
    """

    team: str
    tags: str
    models: str
    limits: str


class KnownKey(msgspec.Struct, frozen=True, gc=False):
    """One secret of a key that is not revoked, as a worker holds it.

    :param number: the key's number in the database.
    :param expires_at: when the key expires, epoch seconds; 0: never.
    :param ends_at: when this secret ends, epoch seconds; 0: never.
    """

    number: int
    id: str
    disabled: bool
    expires_at: int
    ends_at: int
    grants: Grants


#: The secrets by their SHA-256 digests.
Table = dict[bytes, KnownKey]


class Position(NamedTuple):
    """The state of a database, by which another state is known to follow it or not.

    :param seq: the number of the last change; 0 before the first, -1: nothing was read.
    :param entry: the last entry of the audit. A database that was put in place of another one may give the
        numbers of changes and keys again, but has other entries: each has a moment and a request's id.
    """

    seq: int
    entry: tuple[int | str, ...] | None = None


def position(connection: sqlite3.Connection) -> Position:
    """Return the present state."""
    return Position(connection.execute(_LAST).fetchone()[0], connection.execute(_LAST_ENTRY).fetchone())


def follows(connection: sqlite3.Connection, before: Position) -> bool:
    """Return whether the database had that state before, so that it tells all that has changed since."""
    if before.seq <= 0:
        return False
    entry = before.entry
    return entry is None or connection.execute(_ENTRY, entry[:1]).fetchone() == entry


def all_keys(connection: sqlite3.Connection) -> Table:
    """Return the secrets of all keys that are not revoked."""
    return dict(_known(connection.execute(_KNOWN), {}))


def keys_numbered(connection: sqlite3.Connection, numbers: Iterable[int]) -> Table:
    """Return the secrets of some keys; none of those that are revoked."""
    shared: dict[tuple[str, ...], Grants] = {}
    found: Table = {}
    for number in numbers:
        found.update(_known(connection.execute(_KNOWN_OF, (number,)), shared))
    return found


def changes_between(connection: sqlite3.Connection, seq: int, last: int) -> dict[int, What]:
    """Return the keys that have changed after ``seq``, each with whether its streams end."""
    rows = connection.execute(_CHANGED, (seq, last))
    return {number: What.END if ends else What.LOOK for number, ends in rows.fetchall()}


def team_limits(connection: sqlite3.Connection) -> Mapping[str, str]:
    """Return the limits of the teams in the database, as JSON."""
    return dict(connection.execute(_TEAMS).fetchall())


def _known(rows: sqlite3.Cursor, shared: dict[tuple[str, ...], Grants]) -> Iterator[tuple[bytes, KnownKey]]:
    for digest, number, identity, state, expires_at, ends_at, *texts in rows:
        group = tuple(texts)
        grants = shared.get(group)
        if grants is None:
            grants = shared[group] = Grants(*group)
        yield digest, KnownKey(number, identity, state != "active", expires_at or 0, ends_at or 0, grants)
