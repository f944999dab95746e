"""Reads and writes the tables of issued keys, for admins. All SQL is constant text with parameters."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

import msgspec

_BY_ID = """
SELECT number, id, name, owner, team, tags, note, models, limits, state, created_at, expires_at, version
FROM key WHERE id = ?
"""
_BY_NAME = """
SELECT number, id, name, owner, team, tags, note, models, limits, state, created_at, expires_at, version
FROM key WHERE name = ? AND state != 'revoked'
"""
_BY_DIGEST = """
SELECT number, id, name, owner, team, tags, note, models, limits, state, key.created_at, expires_at, version
FROM key JOIN secret ON secret.key = key.number WHERE secret.digest = ?
"""
_LIST = """
SELECT number, id, name, owner, team, tags, note, models, limits, state, created_at, expires_at, version
FROM key
WHERE number > :after
    AND (:team IS NULL OR team = :team)
    AND (:owner IS NULL OR owner = :owner)
    AND (:state IS NULL OR state = :state)
    AND (:tag IS NULL OR EXISTS (SELECT 1 FROM json_each(tags) AS tag
        WHERE tag.key = :tag AND (:tag_value IS NULL OR tag.value = :tag_value)))
    AND (:q IS NULL OR instr(name, :q) OR instr(id, :q)
        OR number IN (SELECT key FROM secret WHERE instr(hint, :q)))
ORDER BY number LIMIT :limit
"""
_INSERT = """
INSERT INTO key (id, name, owner, team, tags, note, models, limits, state, created_at, expires_at, version)
VALUES (:id, :name, :owner, :team, :tags, :note, :models, :limits, :state, :created_at, :expires_at, 1)
"""
_UPDATE = """
UPDATE key SET name = :name, owner = :owner, team = :team, tags = :tags, note = :note, models = :models,
    limits = :limits, state = :state, expires_at = :expires_at, version = version + 1
WHERE number = :number
"""
_SECRETS = "SELECT digest, hint, created_at, ends_at FROM secret WHERE key = ? ORDER BY created_at, digest"
_NEW_SECRET = "INSERT INTO secret (digest, key, hint, created_at) VALUES (?, ?, ?, ?)"  # noqa: S105
_END_SECRETS = """
UPDATE secret SET ends_at = CASE WHEN ends_at < :end THEN ends_at ELSE :end END WHERE key = :key
"""
_DROP_SECRETS = "DELETE FROM secret WHERE key = ? AND ends_at <= ?"
_AUDIT = """
INSERT INTO audit (at, admin, action, subject, before, after, request, address)
VALUES (:at, :admin, :action, :subject, :before, :after, :request, :address)
"""
_AUDITS = """
SELECT number, at, admin, action, subject, before, after, request, address FROM audit
WHERE number < :before AND (:subject IS NULL OR subject = :subject) ORDER BY number DESC LIMIT :limit
"""


class KeyRow(msgspec.Struct, frozen=True):
    """A row of the table of keys."""

    number: int
    id: str
    name: str | None
    owner: str
    team: str
    tags: str
    note: str
    models: str
    limits: str
    state: str
    created_at: int
    expires_at: int | None
    version: int


class SecretRow(msgspec.Struct, frozen=True):
    """A row of the table of secrets, each of which opens the gateway until it ends."""

    digest: bytes
    hint: str
    created_at: int
    ends_at: int | None


def key_by_id(db: sqlite3.Connection, identity: str) -> KeyRow | None:
    row = db.execute(_BY_ID, (identity,)).fetchone()
    return KeyRow(*row) if row else None


def key_by_name(db: sqlite3.Connection, name: str) -> KeyRow | None:
    """Return the key of that name that is not revoked."""
    row = db.execute(_BY_NAME, (name,)).fetchone()
    return KeyRow(*row) if row else None


def key_by_digest(db: sqlite3.Connection, digest: bytes) -> KeyRow | None:
    """Return the key that has that secret, in whatever state it is."""
    row = db.execute(_BY_DIGEST, (digest,)).fetchone()
    return KeyRow(*row) if row else None


def keys_after(db: sqlite3.Connection, filters: Mapping[str, Any]) -> list[KeyRow]:
    """Return a page of keys.

    :param filters: ``after`` (a number), ``limit``, and ``team``, ``owner``, ``state``, ``tag``,
        ``tag_value`` and ``q``, each ``None`` for any.
    """
    return [KeyRow(*row) for row in db.execute(_LIST, filters).fetchall()]


def add_key(db: sqlite3.Connection, columns: Mapping[str, Any]) -> None:
    db.execute(_INSERT, columns)


def change_key(db: sqlite3.Connection, row: KeyRow) -> None:
    """Write all columns of a key, and raise its version."""
    db.execute(_UPDATE, msgspec.structs.asdict(row))


def secrets_of(db: sqlite3.Connection, number: int) -> list[SecretRow]:
    return [SecretRow(*row) for row in db.execute(_SECRETS, (number,)).fetchall()]


def add_secret(db: sqlite3.Connection, number: int, digest: bytes, hint: str, now: int) -> None:
    """:raises sqlite3.IntegrityError: another key has that secret."""
    db.execute(_NEW_SECRET, (digest, number, hint, now))


def end_secrets(db: sqlite3.Connection, number: int, ends_at: int, now: int) -> None:
    """Let the present secrets of a key end, and forget those that have ended."""
    db.execute(_DROP_SECRETS, (number, now))
    db.execute(_END_SECRETS, {"end": ends_at, "key": number})


def teams(db: sqlite3.Connection) -> dict[str, dict[str, Any]]:
    """Return the teams by name, each with its columns."""
    rows = db.execute("SELECT name, note, limits, created_at, version FROM team ORDER BY name").fetchall()
    names = ("name", "note", "limits", "created_at", "version")
    return {row[0]: dict(zip(names, row, strict=True)) for row in rows}


def put_team(db: sqlite3.Connection, columns: Mapping[str, Any]) -> None:
    db.execute(
        "INSERT INTO team (name, note, limits, created_at, version) VALUES (:name, :note, :limits, :now, 1) "
        "ON CONFLICT (name) DO UPDATE SET note = excluded.note, limits = excluded.limits, "
        "version = team.version + 1",
        columns,
    )


def delete_team(db: sqlite3.Connection, name: str) -> None:
    db.execute("DELETE FROM team WHERE name = ?", (name,))


def expiring(db: sqlite3.Connection, since: int, until: int) -> list[tuple[str, int]]:
    """Return the names, or else the ids, of active keys that expire then, and when, the first 20."""
    return db.execute(
        "SELECT coalesce(name, id), expires_at FROM key WHERE state = 'active' AND expires_at >= ? "
        "AND expires_at < ? ORDER BY expires_at LIMIT 20",
        (since, until),
    ).fetchall()


def teams_of_keys(db: sqlite3.Connection) -> dict[str, int]:
    """Return the teams that keys have, each with the number of its keys that are not revoked."""
    rows = db.execute("SELECT team, count(*) FROM key WHERE state != 'revoked' AND team != '' GROUP BY team")
    return dict(rows.fetchall())


def live_keys_of(db: sqlite3.Connection, team: str) -> list[str]:
    """Return the ids of the team's keys that are not revoked."""
    rows = db.execute("SELECT id FROM key WHERE team = ? AND state != 'revoked' ORDER BY number", (team,))
    return [row[0] for row in rows.fetchall()]


def add_change(db: sqlite3.Connection, number: int, ends_streams: bool) -> int:
    """Note a change for the workers, and return its number."""
    insert = "INSERT INTO change (key, ends_streams) VALUES (?, ?) RETURNING seq"
    return int(db.execute(insert, (number, ends_streams)).fetchone()[0])


def add_audit(db: sqlite3.Connection, entry: Mapping[str, Any]) -> None:
    db.execute(_AUDIT, entry)


def audits(db: sqlite3.Connection, before: int, subject: str | None, limit: int) -> list[dict[str, Any]]:
    """Return the newest entries before a number."""
    names = ("number", "at", "admin", "action", "subject", "before", "after", "request", "address")
    rows = db.execute(_AUDITS, {"before": before, "subject": subject, "limit": limit}).fetchall()
    return [dict(zip(names, row, strict=True)) for row in rows]


def earlier_answer(db: sqlite3.Connection, admin: str, token: str, since: int) -> tuple[bytes, str] | None:
    """Return the request and the answer of an idempotency key that is not older."""
    db.execute("DELETE FROM idempotency WHERE at < ?", (since,))
    row: tuple[bytes, str] | None = db.execute(
        "SELECT request, answer FROM idempotency WHERE admin = ? AND token = ?", (admin, token)
    ).fetchone()
    return row


def keep_answer(
    db: sqlite3.Connection, admin: str, token: str, now: int, request: bytes, answer: str
) -> None:
    db.execute(
        "INSERT INTO idempotency (admin, token, at, request, answer) VALUES (?, ?, ?, ?, ?)",
        (admin, token, now, request, answer),
    )
