"""Tests the settings of the cache: of models, of the file, and what is shown and warned of."""

from __future__ import annotations

from pathlib import Path

import pytest
from kit.configuration import refusal

from flask_gateway.config.cache_settings import CacheMode, CacheSettings, CacheShare, ModelCache
from flask_gateway.config.describe import describe
from flask_gateway.config.load import Resolved, resolve

MODEL = '[upstreams.mock]\nurl = "mock://local"\n[models.fast]\nupstream = "mock"\n'


def loaded(tmp_path: Path, text: str, **environ: str) -> Resolved:
    file = tmp_path / "gateway.toml"
    file.write_text(MODEL + text)
    return resolve({"GATEWAY_CONFIG": str(file), **environ})


def test_it_is_off_by_default(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "").settings
    assert settings.models[0].cache == ModelCache()
    assert settings.cache == CacheSettings()
    assert not any("cache" in line for line in describe(loaded(tmp_path, "")))


def test_a_model_and_the_file(tmp_path: Path) -> None:
    text = 'cache = "all"\ncache_seconds = 60\ncache_share = "team"\n'
    text += '[cache]\npath = "kept"\nmax_bytes = 1048576\nfields = ["user"]\n'
    resolved = loaded(tmp_path, text)
    assert resolved.settings.models[0].cache == ModelCache(
        mode=CacheMode.ALL, seconds=60.0, share=CacheShare.TEAM
    )
    assert resolved.settings.cache == CacheSettings(
        path=str(tmp_path / "kept"), max_bytes=1 << 20, fields=("user",)
    )
    lines = list(describe(resolved))
    assert any("cached (all, 60 s, shared by team)" in line for line in lines)
    assert f"cache.path = {tmp_path / 'kept'}  (from file)" in lines


def test_systemds_directory_is_the_default(tmp_path: Path) -> None:
    made = loaded(tmp_path, "", CACHE_DIRECTORY="/var/cache/gateway:/var/cache/other").settings.cache
    assert made.path == "/var/cache/gateway"
    assert loaded(tmp_path, "", CACHE_DIRECTORY="relative").settings.cache.path is None


def test_without_a_directory_the_start_says_that_workers_share_nothing(tmp_path: Path) -> None:
    cached = 'cache = "all"\n'
    assert any("each worker keeps its answers" in one for one in loaded(tmp_path, cached).settings.warnings)
    shared = loaded(tmp_path, cached + '[cache]\npath = "kept"\n').settings.warnings
    assert not any("each worker" in one for one in shared)


def test_without_the_library_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flask_gateway.config.warnings.find_spec", lambda name: None)
    warnings = loaded(tmp_path, 'cache = "all"\n[cache]\npath = "kept"\n').settings.warnings
    assert any("lmdb is not installed" in one for one in warnings)


@pytest.mark.parametrize(
    ("text", "setting", "words"),
    [
        ('cache = "sometimes"\n', "models.fast.cache", "off, asked, deterministic, all"),
        ("cache_seconds = 0\n", "models.fast.cache_seconds", "above 0"),
        ('cache_share = "friends"\n', "models.fast.cache_share", "key, team, all"),
        ("[cache]\nmax_bytes = 5\n", "cache.max_bytes", "at least 1048576"),
        ("[cache]\nsize = 5\n", "cache.size", "a known setting"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, setting: str, words: str) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(MODEL + text)
    error = refusal(GATEWAY_CONFIG=str(file))
    assert error.setting == setting
    assert words in str(error)
