"""Where a gateway finds its callers, with and without a data directory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from kit.calls import make_settings

from flask_gateway.app.key_source import issued_keys, key_labels, key_source
from flask_gateway.config.schema import LedgerSettings
from flask_gateway.guards.inflight import InFlightCalls
from flask_gateway.state.memory import MemoryStore

ROOT = Path(__file__).parents[2]


def test_nothing_is_imported_where_no_directory_is_set() -> None:
    code = (
        "import sys; from flask_gateway import create_app; create_app()\n"
        "off = ('sqlite3', 'flask_gateway.web.admin', 'flask_gateway.auth.issued_keys')\n"
        "off += ('flask_gateway.auth.live_keys', 'flask_gateway.auth.key_store')\n"
        "sys.exit(str([name for name in off if name in sys.modules] or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env={})
    assert done.stderr.splitlines()[-1:] in ([], [""]), done.stderr


def test_without_a_data_directory_the_keys_are_those_of_the_settings(store: MemoryStore) -> None:
    settings = make_settings()
    assert issued_keys(settings, store, InFlightCalls(max_streams=4)) is None
    assert len(key_source(settings, None)) == len(settings.keys)
    assert key_labels(settings, None) is None


def test_with_a_data_directory_issued_keys_are_found_too(tmp_path: Path, store: MemoryStore) -> None:
    settings = make_settings(ledger=LedgerSettings(data=str(tmp_path)))
    issued = issued_keys(settings, store, InFlightCalls(max_streams=4))
    assert issued is not None
    assert len(key_source(settings, issued)) == len(settings.keys) + 1
    assert key_labels(settings, issued) is not None
    assert list(tmp_path.iterdir()) == []  # nothing is written before a key is made
