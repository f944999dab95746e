"""Tests new keys: shown once, never the same, with a valid table."""

from __future__ import annotations

import hashlib
import re
import tomllib
from pathlib import Path

import pytest

from flask_gateway.cli.command import OK
from flask_gateway.cli.main import main

Capture = pytest.CaptureFixture[str]


# ---------------------------------------------------------------- keys


def test_a_new_key_is_shown_once_and_its_table_is_valid(tmp_path: Path, capsys: Capture) -> None:
    assert main(["keys", "new", "team.a"], {}) == OK
    out, err = capsys.readouterr()
    (key,) = re.findall(r"sk-[0-9a-f]{48}", err)
    assert "sk-" not in out
    assert tomllib.loads(out) == {"keys": {"team.a": {"sha256": hashlib.sha256(key.encode()).hexdigest()}}}
    (tmp_path / "gateway.toml").write_text(out)
    assert main(["check", "--quiet"], {"GATEWAY_CONFIG": str(tmp_path / "gateway.toml")}) == OK
    assert main(["keys", "hash"], {"FLASK_GATEWAY_KEY": key}) == OK
    assert capsys.readouterr().out.strip() in out


def test_two_keys_differ(capsys: Capture) -> None:
    main(["keys", "new", "a"], {})
    main(["keys", "new", "a"], {})
    assert len(set(re.findall(r"sk-\w+", capsys.readouterr().err))) == 2
