"""The tables of issued keys: what may not come twice first, then what ends and what is forgotten."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from kit.issuing import Issuing

from flask_gateway.auth import key_tables as tables


@pytest.fixture
def db(issuing: Issuing) -> Iterator[sqlite3.Connection]:
    with issuing.keys.writing() as connection:
        yield connection


def add(db: sqlite3.Connection, id: str, **changes: Any) -> tables.KeyRow:
    columns = {"id": id, "name": None, "owner": "", "team": "", "tags": "{}", "note": "", "models": "null"}
    columns |= {"limits": "{}", "state": "active", "created_at": 1, "expires_at": None}  # type: ignore[dict-item]
    tables.add_key(db, {**columns, **changes})
    row = tables.key_by_id(db, id)
    assert row is not None
    return row


def test_a_secret_is_one_keys(db: sqlite3.Connection) -> None:
    first, second = add(db, "a"), add(db, "b")
    tables.add_secret(db, first.number, b"digest", "hint", 1)
    with pytest.raises(sqlite3.IntegrityError):
        tables.add_secret(db, second.number, b"digest", "hint", 1)
    assert tables.key_by_digest(db, b"digest") == first
    assert tables.key_by_digest(db, b"other") is None


def test_the_name_of_a_revoked_key_finds_nothing(db: sqlite3.Connection) -> None:
    row = add(db, "a", name="web")
    tables.change_key(db, msgspec.structs.replace(row, state="revoked"))
    assert tables.key_by_name(db, "web") is None
    assert tables.key_by_id(db, "a") == msgspec.structs.replace(row, state="revoked", version=2)


def test_a_rotation_never_makes_an_old_secret_live_longer(db: sqlite3.Connection) -> None:
    row = add(db, "a")
    tables.add_secret(db, row.number, b"one", "", 1)
    for ends_at in (500, 900, 300):
        tables.end_secrets(db, row.number, ends_at, 10)
    assert [one.ends_at for one in tables.secrets_of(db, row.number)] == [300]
    tables.end_secrets(db, row.number, 2000, 300)
    assert tables.secrets_of(db, row.number) == []


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, "abc"),
        ({"after": 1}, "bc"),
        ({"limit": 2}, "ab"),
        ({"team": "t"}, "bc"),
        ({"owner": "ann"}, "a"),
        ({"state": "disabled"}, "c"),
        ({"tag": "env"}, "ab"),
        ({"tag": "env", "tag_value": "prod"}, "b"),
        ({"tag": "prod"}, ""),
        ({"q": "we"}, "a"),
        ({"q": "…zzzz"}, "c"),
        ({"q": "%"}, ""),
    ],
)
def test_filters_of_a_list(db: sqlite3.Connection, filters: dict[str, Any], found: str) -> None:
    add(db, "a", name="web", owner="ann", tags='{"env":"test"}')
    add(db, "b", team="t", tags='{"env":"prod"}')
    last = add(db, "c", team="t", state="disabled")
    tables.add_secret(db, last.number, b"x", "sk-fgw-…zzzz", 1)
    names = ("team", "owner", "state", "tag", "tag_value", "q")
    rows = tables.keys_after(db, {**dict.fromkeys(names), "after": 0, "limit": 50, **filters})
    assert "".join(row.id for row in rows) == found


def test_keys_that_expire_are_named_soonest_first(db: sqlite3.Connection) -> None:
    add(db, "a", name="web", expires_at=90)
    add(db, "b", expires_at=50)
    add(db, "c", expires_at=60, state="disabled")
    add(db, "d", expires_at=100)
    assert tables.expiring(db, 50, 100) == [("b", 50), ("web", 90)]


def test_teams_count_their_keys_that_are_not_revoked(db: sqlite3.Connection) -> None:
    for id, team, state in (
        ("a", "t", "active"),
        ("b", "t", "revoked"),
        ("c", "t", "disabled"),
        ("d", "", "active"),
    ):
        add(db, id, team=team, state=state)
    assert tables.teams_of_keys(db) == {"t": 2}
    assert tables.live_keys_of(db, "t") == ["a", "c"]


def test_a_team_that_is_put_again_has_the_next_version(db: sqlite3.Connection) -> None:
    for note, now in (("one", 5), ("two", 9)):
        tables.put_team(db, {"name": "t", "note": note, "limits": "{}", "now": now})
    team = tables.teams(db)["t"]
    assert (team["note"], team["created_at"], team["version"]) == ("two", 5, 2)
    tables.delete_team(db, "t")
    assert tables.teams(db) == {}


def test_an_answer_is_forgotten_when_it_is_old(db: sqlite3.Connection) -> None:
    tables.keep_answer(db, "admin", "token", 100, b"request", "{}")
    assert tables.earlier_answer(db, "other", "token", 0) is None
    assert tables.earlier_answer(db, "admin", "token", 100) == (b"request", "{}")
    assert tables.earlier_answer(db, "admin", "token", 101) is None
    assert tables.earlier_answer(db, "admin", "token", 0) is None  # it is deleted
