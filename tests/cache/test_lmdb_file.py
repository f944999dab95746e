"""Tests the file of all workers: other processes, killed writers, damage, cuts, a directory that is none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit.cached import KEY, OTHER, entry

from flask_gateway.cache import lmdb_file
from flask_gateway.cache.lmdb_file import NAME, LmdbEntries

ROOM = 1 << 20
ROOT = Path(__file__).parents[2]
#: Writes without an end, and is killed at some point.
WRITER = """
import sys
from pathlib import Path
from flask_gateway.cache.entry import KeptAnswer
from flask_gateway.cache.lmdb_file import LmdbEntries
entries = LmdbEntries(Path(sys.argv[1]), 1 << 20)
number = 0
while True:
    key = number.to_bytes(32, "big")
    entries.put(key, KeptAnswer(float(number), "t", "u", 0, 0, key * 100))
    if number == 20:
        print("writes", flush=True)
    number += 1
"""


@pytest.fixture
def entries(tmp_path: Path) -> Iterator[LmdbEntries]:
    made = LmdbEntries(tmp_path / "kept", ROOM)
    assert made.open()
    yield made
    made.close()


def fill(entries: LmdbEntries, count: int = 30) -> list[bytes]:
    keys = [number.to_bytes(32, "big") for number in range(count)]
    for key in keys:
        assert entries.put(key, entry(key * 200))
    return keys


def test_before_it_is_open_everything_is_a_miss(tmp_path: Path) -> None:
    closed = LmdbEntries(tmp_path, ROOM)
    assert closed.get(KEY) is None
    assert closed.stats().entries == 0
    assert closed.put(KEY, entry())  # the writing thread opens it
    assert closed.get(KEY) == entry()
    closed.close()
    assert closed.get(KEY) is None


def test_only_the_user_of_the_gateway_may_read_it(entries: LmdbEntries, tmp_path: Path) -> None:
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "kept" / NAME).stat().st_mode & 0o777 == 0o600


def test_a_writer_that_is_killed_blocks_nobody_and_leaves_whole_entries(
    entries: LmdbEntries, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path / "kept")]
    writer = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"writes\n"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    assert entries.put(KEY, entry())
    assert entries.get(KEY) == entry()
    found = [entries.get(number.to_bytes(32, "big")) for number in range(20)]
    for number, one in enumerate(found):
        assert one is None or one.body == number.to_bytes(32, "big") * 100


def test_damaged_values_are_misses_and_never_wrong(entries: LmdbEntries, tmp_path: Path) -> None:
    keys = fill(entries)
    file = tmp_path / "kept" / NAME
    data = file.read_bytes()
    at = data.index(keys[7] * 200) + 3000  # inside the body
    with file.open("r+b") as opened:
        opened.seek(at)
        opened.write(b"damage")
    assert entries.get(keys[7]) is None
    assert entries.get(keys[8]) == entry(keys[8] * 200)


def test_a_file_that_is_cut_off_is_replaced(entries: LmdbEntries, tmp_path: Path) -> None:
    keys = fill(entries)
    os.truncate(tmp_path / "kept" / NAME, 8192)
    assert [entries.get(key) for key in keys] == [None] * len(keys)
    assert entries.put(KEY, entry())
    assert entries.get(KEY) == entry()
    assert entries.get(keys[0]) is None


@pytest.mark.parametrize("content", [b"no database at all" * 1000, b"\0" * 100_000, b"x"])
def test_a_file_that_is_none_is_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    entries = LmdbEntries(tmp_path, ROOM)
    assert entries.put(KEY, entry())
    assert entries.get(KEY) == entry()
    entries.close()


def test_a_file_with_damaged_pages_ends_no_process(tmp_path: Path) -> None:
    before = LmdbEntries(tmp_path, ROOM)
    keys = fill(before)
    before.close()
    file = tmp_path / NAME
    data = bytearray(file.read_bytes())
    for page in range(2, len(data) // 4096):
        data[page * 4096 : page * 4096 + 16] = b"\xff" * 16  # the heads of all pages
    file.write_bytes(data)
    entries = LmdbEntries(tmp_path, ROOM)
    assert entries.put(KEY, entry())
    assert entries.get(keys[0]) is None
    assert entries.get(KEY) == entry()
    entries.close()


def test_a_file_that_another_process_replaced_is_opened_again(entries: LmdbEntries, tmp_path: Path) -> None:
    fill(entries)
    (tmp_path / "kept" / NAME).unlink()
    (tmp_path / "kept" / f"{NAME}-lock").unlink()
    assert entries.get(KEY) is None
    assert entries.put(OTHER, entry())
    assert entries.get(OTHER) == entry()


def test_a_directory_that_cannot_be_used_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no directory")
    entries = LmdbEntries(tmp_path / "file", ROOM)
    for _ in range(3):
        assert not entries.put(KEY, entry())
        assert entries.get(KEY) is None
    assert len(caplog.messages) == 1
    assert "cannot be used now" in caplog.messages[0]


def test_a_check_that_takes_too_long_counts_as_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lmdb_file, "CHECK", 0.0)
    (tmp_path / NAME).write_bytes(b"x")
    assert not lmdb_file._is_readable(tmp_path / NAME)
