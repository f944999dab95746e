"""Issued keys in a worker: off, and 100 000 of them. Cases 22 and 50 of keys.md."""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest
from kit.calls import make_settings

from flask_gateway.auth import key_rows, key_tables
from flask_gateway.auth.api_keys import keys_of
from flask_gateway.auth.issued_keys import IssuedKeys
from flask_gateway.auth.key_admin import KeyAdmin
from flask_gateway.auth.key_body import NewKeyFields, RotateFields
from flask_gateway.auth.key_changes import Actor, KeyChanges
from flask_gateway.auth.key_store import KeyStore, KeyStoreError, transaction
from flask_gateway.auth.live_keys import LiveKeys
from flask_gateway.ledger import database, reports
from flask_gateway.model.calendar_windows import Calendar, Window
from flask_gateway.model.errors import KeyExpired
from flask_gateway.state.memory import MemoryStore

ROOT = Path(__file__).parents[2]
ACTOR = Actor("test", "", "")


def test_nothing_is_imported_where_no_directory_is_set() -> None:
    code = (
        "import sys; from flask_gateway import create_app; create_app()\n"
        "off = ('sqlite3', 'flask_gateway.web.admin', 'flask_gateway.auth.issued_keys')\n"
        "off += ('flask_gateway.auth.live_keys', 'flask_gateway.auth.key_store')\n"
        "sys.exit(str([name for name in off if name in sys.modules] or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env={})
    assert done.stderr.splitlines()[-1:] in ([], [""]), done.stderr


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


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    keys = KeyStore(tmp_path)
    with keys.writing() as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(KeyStoreError, match="version 99"), keys.writing():
        pass


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keys.db").write_bytes(b"x" * 4096)
    with pytest.raises(KeyStoreError), KeyStore(tmp_path).reading() as db:
        key_rows.last_change(db)


def memory() -> float:
    """The resident memory of this process, MiB."""
    (line,) = [
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS")
    ]
    return int(line.split()[1]) / 1024


@pytest.mark.soak
def test_100_000_keys_load_within_a_second_and_40_mb_and_a_page_takes_20_ms(tmp_path: Path) -> None:
    keys = KeyStore(tmp_path / "data")
    row = {
        "owner": "",
        "team": "",
        "tags": '{"env":"prod"}',
        "note": "",
        "models": '["gpt-4o*"]',
        "limits": "{}",
    }
    row |= {"state": "active", "created_at": 1, "expires_at": None}
    with keys.writing() as db, transaction(db):
        for number in range(1, 100_001):
            key_tables.add_key(db, {**row, "id": f"key_{number:012}", "name": f"n{number}"})
            key_tables.add_secret(db, number, secrets.token_bytes(32), "sk-fgw-…abcd", 1)
    before, begun = memory(), time.process_time()
    with keys.reading() as db:
        table = key_rows.all_keys(db)
    seconds, size = time.process_time() - begun, memory() - before
    wanted = dict.fromkeys(("team", "owner", "state", "tag", "tag_value", "q")) | {
        "after": 50_000,
        "limit": 51,
    }
    begun = time.process_time()
    with keys.reading() as db:
        rows = key_tables.keys_after(db, wanted)
        assert [key_tables.secrets_of(db, one.number) for one in rows]
    page = time.process_time() - begun
    spent = seconds_of_spend(tmp_path / "data", [one.id for one in rows[:50]])
    told = f"a page {page * 1000:.1f} ms, with spend {(page + spent) * 1000:.1f} ms"
    print(f"{len(table)} keys: {seconds:.2f} s of CPU, {size:.1f} MiB, {told}")
    assert (seconds < 1, size < 40, page < 0.02, page + spent < 0.05) == (True, True, True, True)


def seconds_of_spend(data: Path, page: list[str]) -> float:
    """The CPU time to read the spend of a page, where each of 100 000 keys has some in each window."""
    starts = Calendar().starts(1_700_000_000)
    with closing(database.write(data / database.NAME)) as db, database.transaction(db):
        rows = (
            (f"key:key_{number:012}", window.value, start, 5, 1)
            for number in range(1, 100_001)
            for window, start in zip(Window, starts, strict=True)
        )
        db.executemany(
            "INSERT INTO balance (subject, window, start, cost, calls) VALUES (?, ?, ?, ?, ?)", rows
        )
    begun = time.process_time()
    with closing(database.read(data / database.NAME)) as db:
        found = reports.spend(db, [f"key:{identity}" for identity in page], starts)
    seconds = time.process_time() - begun
    assert list(found.values()) == [dict.fromkeys(("day", "week", "month", "total"), "0.000000005")] * 50
    return seconds
