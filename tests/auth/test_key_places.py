"""The keys of the settings: a file, or a copy of PostgreSQL."""

from __future__ import annotations

from pathlib import Path

from flask_gateway.auth.key_copy import CopiedKeyStore
from flask_gateway.auth.key_places import key_store_of
from flask_gateway.auth.key_store import KeyStore
from flask_gateway.config.schema import LedgerSettings, Secret
from flask_gateway.state.memory import MemoryStore


def test_the_database_of_the_settings_decides(tmp_path: Path, store: MemoryStore) -> None:
    alone = key_store_of(LedgerSettings(data=str(tmp_path)), store)
    several = key_store_of(
        LedgerSettings(data=str(tmp_path), database=Secret("postgresql://db.test/x")), store
    )
    assert (type(alone), type(several)) == (KeyStore, CopiedKeyStore)
    assert alone.path == several.path
