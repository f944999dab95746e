"""Opens the issued keys of the settings: a file of this machine, or a copy of those in PostgreSQL."""

from __future__ import annotations

from pathlib import Path

from ..config.schema import LedgerSettings
from ..state.store import Store
from .key_store import KeyStore


def key_store_of(ledger: LedgerSettings, store: Store) -> KeyStore:
    """Return the keys of the settings, which name a data directory.

    :param store: has the generation of changes that machines announce to one another.
    """
    assert ledger.data is not None
    if ledger.database is None:
        return KeyStore(Path(ledger.data))
    from .key_copy import CopiedKeyStore

    return CopiedKeyStore(Path(ledger.data), ledger.database.reveal(), store)
