"""Tests the command ``cache``: stats, clear, and what it says where there is no cache of all workers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from kit.cached import KEY, entry

from flask_gateway.cache.lmdb_file import LmdbEntries
from flask_gateway.cli.main import main

Capture = pytest.CaptureFixture[str]


def run(tmp_path: Path, action: str, text: str = '[cache]\npath = "kept"\n') -> int:
    file = tmp_path / "gateway.toml"
    file.write_text(text)
    return main(["cache", action, "--json", "--config", str(file)], {})


def test_stats_and_clear(tmp_path: Path, capsys: Capture) -> None:
    kept = LmdbEntries(tmp_path / "kept", 256 << 20)
    assert kept.put(KEY, entry())
    kept.close()
    assert run(tmp_path, "stats") == 0
    stats = json.loads(capsys.readouterr().out)
    assert (stats["answers"], stats["max_bytes"]) == (1, 256 << 20)
    assert run(tmp_path, "clear") == 0
    assert json.loads(capsys.readouterr().out) == {"dropped": 1}
    assert run(tmp_path, "stats") == 0
    assert json.loads(capsys.readouterr().out)["answers"] == 0


def test_without_a_shared_cache_it_says_why(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(tmp_path, "stats", "") == 1
    assert "[cache] has no path" in capsys.readouterr().err
    monkeypatch.setattr("flask_gateway.app.caching.find_spec", lambda name: None)
    assert run(tmp_path, "stats") == 1
    assert "lmdb is not installed" in capsys.readouterr().err


def test_a_directory_that_cannot_be_used(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "kept").write_text("a file")
    assert run(tmp_path, "clear") == 1
    assert "cannot be opened" in capsys.readouterr().err
