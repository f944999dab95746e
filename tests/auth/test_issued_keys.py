"""Issued keys in a worker: a database that cannot be read, and 100 000 keys. Case 50 of keys.md."""

from __future__ import annotations

import os
import secrets
import time
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest
from kit.issuing import ACTOR, Issuing

from flask_gateway.auth import key_rows, key_store, key_tables
from flask_gateway.auth.issued_keys import LOOK_EVERY, IssuedKeys
from flask_gateway.auth.key_admin import Made
from flask_gateway.auth.key_store import KeyStore, transaction
from flask_gateway.ledger import database, reports
from flask_gateway.model.calendar_windows import Calendar, Window
from flask_gateway.model.errors import KeysUnavailable
from flask_gateway.state.memory import MemoryStore


def test_an_unknown_key_is_not_refused_while_the_database_cannot_be_read(
    tmp_path: Path, store: MemoryStore
) -> None:
    (tmp_path / "keys.db").write_bytes(b"x" * 4096)
    issued = IssuedKeys(KeyStore(tmp_path), store, lambda ids: None, always=True)
    with pytest.raises(KeysUnavailable):
        issued.find(bytes(32))
    assert (len(issued), issued.of_id("key_a")) == (0, None)


def test_without_a_database_no_key_is_known_until_there_may_be_one(
    tmp_path: Path, store: MemoryStore
) -> None:
    issued = IssuedKeys(KeyStore(tmp_path / "none"), store, lambda ids: None, always=False)
    assert issued.find(bytes(32)) is None
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("later", [1, 2, 3, 4])
def test_a_database_put_in_place_of_another_is_read_as_a_whole(
    tmp_path: Path, store: MemoryStore, later: int
) -> None:
    """It numbers keys and changes again: at 3 changes it has as many as the worker knows, at 4 one more."""
    issuing, ended = Issuing(tmp_path, store), list[str]()
    issued = IssuedKeys(issuing.keys, store, ended.extend, always=True)
    kept = issuing.make()
    backup = issuing.keys.path.read_bytes()
    issuing.state(kept, "disable")
    gone = issuing.make()
    assert [known(issued, one) for one in (kept, gone)] == [kept.key["id"], gone.key["id"]]
    issuing.keys.path.write_bytes(backup)
    made = [issuing.make() for _ in range(later - 1)]
    for _ in range(LOOK_EVERY):
        issued.look()
    assert [known(issued, one) for one in (kept, *made)] == [one.key["id"] for one in (kept, *made)]
    assert issued.find(digest(kept)).disabled is False
    assert known(issued, gone) is None
    assert ended == [gone.key["id"]]


def test_an_entry_of_the_audit_alone_reads_no_key(
    tmp_path: Path, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuing = Issuing(tmp_path, store)
    made = issuing.make()
    issued = IssuedKeys(issuing.keys, store, lambda ids: None, always=True)
    issued.start()
    with issuing.changes.change(ACTOR) as step:
        step.audit("adjust", "all", None, {})
    monkeypatch.setattr(key_rows, "all_keys", lambda db: pytest.fail("all keys are read"))
    for _ in range(LOOK_EVERY):
        issued.look()
    issuing.state(made, "disable")
    assert issued.find(digest(made)).disabled


def test_a_database_that_nothing_has_changed_is_not_opened_again(
    tmp_path: Path, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuing = Issuing(tmp_path, store)
    made, path = issuing.make(), issuing.keys.path
    # A worker of another store: it hears of no change.
    issued, reads = IssuedKeys(issuing.keys, MemoryStore(), lambda ids: None, always=True), list[int]()
    issued.start()
    real = issued._read_changes
    monkeypatch.setattr(issued, "_read_changes", lambda number: reads.append(1) or real(number))

    def looks() -> int:
        reads.clear()
        for _ in range(LOOK_EVERY):
            issued.look()
        return len(reads)

    assert [looks(), looks()] == [1, 1], "its times do not yet tell another change"
    monkeypatch.setattr(key_store, "_FRESH", -1000.0)
    os.utime(path, (1, 1))
    assert [looks(), looks(), looks()] == [1, 0, 0]
    issuing.state(made, "disable")
    assert looks() == 1
    assert issued.find(digest(made)).disabled
    os.utime(path, (1, 1))  # whatever else touches it
    assert [looks(), looks()] == [1, 0]


def digest(made: Made) -> bytes:
    return sha256(str(made.secret).encode()).digest()


def known(issued: IssuedKeys, made: Made) -> str | None:
    found = issued.find(digest(made))
    return found.id if found else None


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
