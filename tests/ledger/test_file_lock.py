"""Tests that one descriptor at a time has the lock of a file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flask_gateway.ledger.file_lock import lock_file


def test_a_lock_is_taken_once_and_is_free_when_its_descriptor_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first = lock_file(path)
    with pytest.raises(BlockingIOError):
        lock_file(path)
    os.close(first)
    os.close(lock_file(path))
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_folder_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        lock_file(tmp_path / "missing" / "lock")
