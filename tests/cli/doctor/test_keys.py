"""Checks of the issued keys by doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kit.calls import make_settings

from flask_gateway.auth.key_admin import KeyAdmin
from flask_gateway.auth.key_body import NewKeyFields
from flask_gateway.auth.key_changes import Actor, KeyChanges
from flask_gateway.auth.key_store import KeyStore
from flask_gateway.cli.doctor.finding import Level
from flask_gateway.cli.doctor.keys import check_all
from flask_gateway.config.schema import LedgerSettings, Settings
from flask_gateway.model.limits import OwnerLimits
from flask_gateway.state.memory import MemoryStore

NOW = 1000.0
DAY = 86_400


def settings_in(data: Path, **changes: Any) -> Settings:
    return make_settings(ledger=LedgerSettings(data=str(data)), **changes)


def found(settings: Settings) -> list[tuple[Level, str]]:
    return [(one.level, one.what) for one in check_all(settings, NOW)]


def test_without_keys_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert found(make_settings()) == []
    assert found(settings_in(tmp_path)) == []


def test_keys_that_expire_soon_and_lost_teams_are_named(tmp_path: Path) -> None:
    with_team = settings_in(tmp_path, teams={"search": OwnerLimits()})
    admin = KeyAdmin(KeyChanges(KeyStore(tmp_path), MemoryStore(), lambda: NOW), with_team)
    admin.create(Actor("test", "", ""), NewKeyFields(team="search"))
    admin.create(Actor("test", "", ""), NewKeyFields(name="later", expires_at=int(NOW) + 15 * DAY))
    assert [level for level, _ in found(with_team)] == [Level.OK]
    admin.create(Actor("test", "", ""), NewKeyFields(name="soon", expires_at=int(NOW) + 13 * DAY))
    (warned,) = found(with_team)
    assert warned == (Level.WARN, "keys: soon expires 1970-01-14 00:16Z")
    level, what = found(settings_in(tmp_path))[0]
    assert (level, what) == (
        Level.FAIL,
        "keys: 1 keys of the team 'search' are refused, as it is set nowhere",
    )


def test_a_database_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "keys.db").write_bytes(b"x" * 4096)
    assert [level for level, _ in found(settings_in(tmp_path))] == [Level.FAIL]
