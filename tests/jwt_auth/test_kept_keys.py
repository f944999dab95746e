"""The file of keys: kept and read again, and left alone where it cannot be trusted."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from kit.token_issuer import signing_key

from flask_gateway.jwt_auth.kept_keys import KeyFile
from flask_gateway.jwt_auth.key_set import key_set_of

ALLOWED = frozenset({"ES256"})
KEYS = key_set_of({"keys": [signing_key("1").jwk, signing_key("2").jwk]}, ALLOWED)


def test_written_keys_are_read(tmp_path: Path) -> None:
    file = KeyFile(tmp_path, "https://login.example", "")
    assert file.read(ALLOWED) is None
    file.write(KEYS, 17.5)
    read, fetched = file.read(ALLOWED) or pytest.fail("nothing was read")
    assert (read.fingerprints, fetched) == (KEYS.fingerprints, 17.5)
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == [file.path.name]


def test_keys_of_another_place_are_not_read(tmp_path: Path) -> None:
    KeyFile(tmp_path, "https://login.example", "").write(KEYS, 17.5)
    assert KeyFile(tmp_path, "https://login.example", "https://login.example/keys").read(ALLOWED) is None
    assert KeyFile(tmp_path, "https://other.example", "").read(ALLOWED) is None


def test_keys_of_algorithms_that_are_not_allowed_any_more(tmp_path: Path) -> None:
    file = KeyFile(tmp_path, "https://login.example", "")
    file.write(KEYS, 17.5)
    assert file.read(frozenset({"RS256"})) is None


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff", b'{"keys": 1}', b"[" * 90_000, b"x" * 600_000]
)
def test_a_damaged_file_is_not_read(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    file = KeyFile(tmp_path, "https://login.example", "")
    file.path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert file.read(ALLOWED) is None
    assert "is not read" in caplog.text


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_could_write_is_not_read(tmp_path: Path, mode: int) -> None:
    file = KeyFile(tmp_path, "https://login.example", "")
    file.write(KEYS, 17.5)
    file.path.chmod(mode)
    assert file.read(ALLOWED) is None


def test_a_fifo_and_a_folder_do_not_block(tmp_path: Path) -> None:
    file = KeyFile(tmp_path, "https://login.example", "")
    os.mkfifo(file.path, 0o600)
    assert file.read(ALLOWED) is None
    file.path.unlink()
    file.path.mkdir()
    assert file.read(ALLOWED) is None


def test_a_directory_that_has_gone_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        KeyFile(tmp_path / "gone", "https://login.example", "").write(KEYS, 17.5)
    assert "cannot be kept" in caplog.text
