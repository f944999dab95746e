"""Tests the digests of end users: the same in every worker, and none without the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from flask_gateway.ledger.user_digest import NAME, user_digest


def test_all_workers_of_a_directory_compute_the_same(tmp_path: Path) -> None:
    one, other = user_digest(tmp_path / "data"), user_digest(tmp_path / "data")
    assert one("alice") == other("alice") != one("bob")
    assert len(one("alice")) == 16
    assert one("\ud800")
    assert (tmp_path / "data" / NAME).stat().st_mode & 0o077 == 0


def test_another_directory_has_another_key(tmp_path: Path) -> None:
    assert user_digest(tmp_path / "a")("alice") != user_digest(tmp_path / "b")("alice")


def test_a_directory_that_cannot_be_written_costs_the_sameness_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    digest = user_digest(tmp_path / "file" / "data")
    assert digest("alice") == digest("alice")
    assert "each worker has its own" in caplog.text
