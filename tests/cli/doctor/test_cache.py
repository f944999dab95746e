"""Tests what doctor says of the cache: shared or not, who may read it, a disk of other machines."""

from __future__ import annotations

from pathlib import Path

import pytest
from kit.calls import make_settings, single_candidate

from flask_gateway.cli.doctor import cache
from flask_gateway.cli.doctor.finding import Level
from flask_gateway.config.cache_settings import CacheMode, CacheSettings, ModelCache
from flask_gateway.config.schema import ModelSettings, Settings


def settings(path: Path | None, mode: CacheMode = CacheMode.ALL) -> Settings:
    model = ModelSettings(name="m", tiers=(single_candidate("mock"),), cache=ModelCache(mode=mode))
    return make_settings(models=(model,), cache=CacheSettings(path=str(path) if path else None))


def levels(path: Path | None) -> list[Level]:
    return [one.level for one in cache.check_all(settings(path))]


def test_without_a_cached_model_there_is_nothing_to_check(tmp_path: Path) -> None:
    assert list(cache.check_all(settings(tmp_path, CacheMode.OFF))) == []


def test_the_directory(tmp_path: Path) -> None:
    assert levels(None) == [Level.WARN]
    assert levels(tmp_path / "missing") == [Level.OK]
    tmp_path.chmod(0o700)
    assert levels(tmp_path) == [Level.OK]
    tmp_path.chmod(0o755)
    assert levels(tmp_path) == [Level.WARN]


def test_a_disk_of_other_machines_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "kind_of", lambda path, mounts: "nfs4")
    assert levels(tmp_path / "missing") == [Level.OK, Level.FAIL]
