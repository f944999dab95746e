"""Reads rows of issued keys from PostgreSQL, and writes them into the copy. All SQL is constant text."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any, NamedTuple

from .key_rows import Position, follows, position

#: More changes than this are copied as a whole.
_MOST_CHANGES = 1000
_CHANGES = "SELECT seq, key, ends_streams FROM change WHERE seq > ? AND seq <= ? ORDER BY seq"
_KEYS = """
SELECT number, id, name, owner, team, tags, note, models, limits, state, created_at, expires_at, version
FROM key
"""
_KEY = """
SELECT number, id, name, owner, team, tags, note, models, limits, state, created_at, expires_at, version
FROM key WHERE number = ?
"""
_SECRETS = "SELECT digest, key, hint, created_at, ends_at FROM secret"
_SECRETS_OF = "SELECT digest, key, hint, created_at, ends_at FROM secret WHERE key = ?"
_TEAMS = "SELECT name, note, limits, created_at, version FROM team"
_AUDIT = """
SELECT number, at, admin, action, subject, before, after, request, address FROM audit
WHERE number > ? ORDER BY number
"""
_PUT_KEY = """
INSERT INTO key (number, id, name, owner, team, tags, note, models, limits, state, created_at, expires_at,
    version)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_PUT_AUDIT = """
INSERT INTO audit (number, at, admin, action, subject, before, after, request, address)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

_Rows = list[tuple[Any, ...]]


class Changed(NamedTuple):
    """The rows that a copy lacks.

    :param numbers: of the keys that have changed; ``None``: all rows are here, and replace those there.
    """

    numbers: frozenset[int] | None
    keys: _Rows
    secrets: _Rows
    teams: _Rows
    changes: _Rows
    audit: _Rows


def generation(copy: sqlite3.Connection) -> int | None:
    """Return the generation of changes that the copy has; ``None`` before the first."""
    row = copy.execute("SELECT generation FROM copied").fetchone()
    return row[0] if row else None


def changed(remote: sqlite3.Connection, known: Position) -> Changed | None:
    """Read the rows that have changed, at one moment; ``None`` if none have.

    :param known: the state of the copy.

    :raises sqlite3.Error: PostgreSQL does not answer.
    """
    if position(remote) == known:
        return None
    remote.execute("BEGIN")
    try:
        remote.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        found = _read(remote, known)
    finally:
        remote.execute("ROLLBACK")
    return found


def _read(remote: sqlite3.Connection, known: Position) -> Changed:
    now, teams = position(remote), remote.execute(_TEAMS).fetchall()
    if not 0 <= now.seq - known.seq <= _MOST_CHANGES or not follows(remote, known):
        changes = remote.execute(_CHANGES, (max(0, now.seq - _MOST_CHANGES), now.seq)).fetchall()
        keys, secrets = remote.execute(_KEYS).fetchall(), remote.execute(_SECRETS).fetchall()
        return Changed(None, keys, secrets, teams, changes, remote.execute(_AUDIT, (0,)).fetchall())
    changes = remote.execute(_CHANGES, (known.seq, now.seq)).fetchall()
    numbers = frozenset(key for _, key, _ in changes if key)
    audit = remote.execute(_AUDIT, (known.entry[0] if known.entry else 0,)).fetchall()
    keys, secrets = _of(remote, _KEY, numbers), _of(remote, _SECRETS_OF, numbers)
    return Changed(numbers, keys, secrets, teams, changes, audit)


def _of(remote: sqlite3.Connection, statement: str, numbers: Iterable[int]) -> _Rows:
    return [row for number in numbers for row in remote.execute(statement, (number,)).fetchall()]


def take(copy: sqlite3.Connection, found: Changed | None, generation: int | None) -> None:
    """Write the rows into the copy. The caller has begun the transaction.

    :param generation: of the changes that the copy has then; ``None``: it is not known.
    """
    if found is not None:
        if found.numbers is None:
            copy.execute("DELETE FROM secret")
            copy.execute("DELETE FROM key")
            copy.execute("DELETE FROM change")
            copy.execute("DELETE FROM audit")
        else:
            gone = [(number,) for number in found.numbers]
            copy.executemany("DELETE FROM secret WHERE key = ?", gone)
            copy.executemany("DELETE FROM key WHERE number = ?", gone)
        copy.execute("DELETE FROM team")
        copy.executemany(_PUT_KEY, found.keys)
        copy.executemany(
            "INSERT INTO secret (digest, key, hint, created_at, ends_at) VALUES (?, ?, ?, ?, ?)",
            found.secrets,
        )
        copy.executemany(
            "INSERT INTO team (name, note, limits, created_at, version) VALUES (?, ?, ?, ?, ?)", found.teams
        )
        copy.executemany("INSERT INTO change (seq, key, ends_streams) VALUES (?, ?, ?)", found.changes)
        copy.executemany(_PUT_AUDIT, found.audit)
    if generation is not None:
        copy.execute("UPDATE copied SET generation = ?", (generation,))
