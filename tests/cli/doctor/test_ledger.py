"""Checks of the ledger by doctor."""

from __future__ import annotations

from pathlib import Path

import pytest
from kit.ledger_figures import books_in
from kit.ledger_lines import settled

from flask_gateway.cli.doctor.finding import Level
from flask_gateway.cli.doctor.ledger import check_all, file_system
from flask_gateway.config.schema import LedgerSettings


def levels(data: Path) -> list[tuple[Level, str]]:
    return [(one.level, one.what) for one in check_all(LedgerSettings(data=str(data)))]


def test_a_sound_ledger_is_ok(tmp_path: Path) -> None:
    books = books_in(tmp_path / "data")
    books.journal.write(settled(1))
    books.turn()
    assert {level for level, _ in levels(tmp_path / "data")} == {Level.OK}
    books.journal.write(settled(2, cost=None, upstream_model="new"))
    books.turn()
    level, what = levels(tmp_path / "data")[-1]
    assert level is Level.WARN
    assert what.endswith("without a price: up/new")
    books.close()


def test_a_missing_directory_and_a_missing_database(tmp_path: Path) -> None:
    assert levels(tmp_path / "none")[0][0] is Level.FAIL
    tmp_path.chmod(0o755)
    found = levels(tmp_path)
    assert (Level.WARN, f"ledger: others may read {tmp_path}") in found
    assert found[-1][0] is Level.WARN
    assert list(check_all(LedgerSettings())) == []


@pytest.mark.parametrize(("kind", "level"), [("ext4", Level.OK), ("nfs4", Level.FAIL), ("tmpfs", Level.OK)])
def test_a_remote_file_system_is_refused(tmp_path: Path, kind: str, level: Level) -> None:
    mounts = f"/dev/a / ext4 rw 0 0\nserver:/b {tmp_path} {kind} rw 0 0\n/dev/c /elsewhere nfs rw 0 0\n"
    assert file_system(tmp_path / "data", mounts).level is level
