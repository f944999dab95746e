"""Callers of issued keys: those that are refused, and the moments at which keys and secrets end."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest
from kit.admins import AdminClient
from kit.calls import make_settings

from flask_gateway.auth.api_keys import keys_of
from flask_gateway.auth.issued_keys import IssuedKeys
from flask_gateway.auth.key_admin import KeyAdmin
from flask_gateway.auth.key_body import NewKeyFields, RotateFields
from flask_gateway.auth.key_changes import Actor, KeyChanges
from flask_gateway.auth.key_store import KeyStore, transaction
from flask_gateway.auth.live_keys import LiveKeys
from flask_gateway.model.errors import KeyExpired, KeysUnavailable
from flask_gateway.model.limits import Limits, OwnerLimits
from flask_gateway.state.memory import MemoryStore

ACTOR = Actor("test", "", "")


def test_a_key_and_a_secret_end_at_their_moment(tmp_path: Path, store: MemoryStore) -> None:
    now = [1000.0]
    keys, settings = KeyStore(tmp_path / "data"), make_settings()
    admin = KeyAdmin(KeyChanges(keys, store, lambda: now[0]), settings)
    issued = IssuedKeys(keys, store, lambda ids: None, always=True)
    live = LiveKeys(keys_of(settings), issued, settings, lambda: now[0])
    made = admin.create(ACTOR, NewKeyFields(expires_at=2000))
    rotated = admin.rotate(ACTOR, made.key["id"], RotateFields(overlap=500))
    old, new = (sha256(str(one.secret).encode()).digest() for one in (made, rotated))
    now[0] = 1499.999
    assert live.lookup(old) is not None
    now[0] = 1500.0
    assert live.lookup(old) is None
    now[0] = 1999.999
    assert live.lookup(new) is not None
    now[0] = 2000.0
    with pytest.raises(KeyExpired):
        live.lookup(new)


@pytest.mark.parametrize("text", ["{", '{"requests": "many"}', '{"unknown": 1}'])
def test_a_key_whose_limits_cannot_be_read_is_refused_and_never_unlimited(
    tmp_path: Path, store: MemoryStore, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    keys, settings = KeyStore(tmp_path / "data"), make_settings()
    made = KeyAdmin(KeyChanges(keys, store), settings).create(ACTOR, NewKeyFields())
    with keys.writing() as db, transaction(db):
        db.execute("UPDATE key SET limits = ?", (text,))
    live = LiveKeys(keys_of(settings), IssuedKeys(keys, store, lambda ids: None, always=True), settings)
    with pytest.raises(KeysUnavailable) as caught:
        live.lookup(sha256(str(made.secret).encode()).digest())
    assert caught.value.retry_after == 5.0
    assert made.key["id"] in caplog.text


def test_there_may_always_be_more_than_one_caller(tmp_path: Path, store: MemoryStore) -> None:
    settings = make_settings()
    issued = IssuedKeys(KeyStore(tmp_path), store, lambda ids: None, always=True)
    live = LiveKeys(keys_of(settings), issued, settings)
    assert len(live) == len(settings.keys) + 1
    assert live.lookup(settings.keys[0].digest) == keys_of(settings).lookup(settings.keys[0].digest)


def test_keys_of_a_team_that_left_the_settings_are_refused_and_never_unlimited(
    data: Path, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    limits = OwnerLimits(own=Limits(requests=1))
    before = AdminClient(data, store, teams={"search": limits})
    key, other = before.make(team="search"), before.make()
    assert before.status(key["secret"]) == 200
    after = AdminClient(data, store)
    assert [after.status(key["secret"]) for _ in range(3)] == ["keys_unavailable"] * 3
    assert after.status(other["secret"]) == 200
    assert caplog.text.count("the team 'search' is set nowhere") == 1
    assert after.ask("PATCH", f"/keys/{key['id']}", {"team": None}).status_code == 200
    assert after.status(key["secret"]) == 200
