"""Tests that only regular files of a bounded size are read, and that no other file blocks the reader."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from flask_gateway.config.file_access import read_regular


def refused(path: Path, most: int = 100) -> OSError:
    with pytest.raises(OSError) as caught:  # the callers look at its errno
        read_regular(path, most)
    return caught.value


def test_a_fifo_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert "no regular file" in str(refused(tmp_path / "fifo"))


def test_a_device_a_folder_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    assert refused(Path("/dev/zero")).errno == errno.EINVAL
    assert refused(tmp_path).errno == errno.EISDIR
    assert refused(tmp_path / "missing").errno == errno.ENOENT


def test_a_file_may_have_as_many_bytes_as_it_may_and_not_one_more(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    assert read_regular(path, 100) == b"x" * 100
    assert refused(path, 99).errno == errno.EFBIG


def test_a_path_that_is_none_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="null"):
        read_regular(Path("a\0b"), 100)


def test_a_link_leads_to_its_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"text")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert read_regular(tmp_path / "link", 100) == b"text"
