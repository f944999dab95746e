"""Tests what a gateway's settings make of the cache: who is cached, a changed route, a reload, aliases."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from kit.calls import make_call, make_settings

from flask_gateway.app.build import Gateway, build, rebuild
from flask_gateway.app.caching import is_shared, open_entries
from flask_gateway.cache.entries import MemoryEntries
from flask_gateway.cache.lmdb_file import LmdbEntries
from flask_gateway.config.cache_settings import CacheMode, CacheSettings, ModelCache
from flask_gateway.config.schema import CandidateSettings, ModelSettings, Settings
from flask_gateway.state.memory import MemoryStore


def cached(mode: CacheMode = CacheMode.ALL, model: str = "mock", **changes: object) -> Settings:
    tiers = ((CandidateSettings(upstream="mock", model=model),),)
    named = ModelSettings(name="kept", tiers=tiers, aliases=("other",), cache=ModelCache(mode=mode))
    return make_settings(models=(named,), **changes)


def seen(gateway: Gateway, model: str = "kept") -> str:
    reply = gateway.service.send(make_call(model))
    b"".join(reply)
    reply.close()
    assert gateway.cache is not None
    gateway.cache.parts.writer._pool.submit(lambda: None).result()
    return reply.headers.get("x-gateway-cache", "")


def test_only_models_with_a_cache_have_one(store: MemoryStore) -> None:
    gateway = build(cached(), store)
    assert [seen(gateway), seen(gateway), seen(gateway, "other"), seen(gateway, "mock")] == [
        *("miss", "hit", "hit", ""),
    ]
    assert build(cached(CacheMode.OFF), store).cache is None


def test_a_changed_route_finds_nothing_and_the_old_one_finds_its_answers(store: MemoryStore) -> None:
    first = build(cached(), store)
    assert [seen(first), seen(first)] == ["miss", "hit"]
    moved = rebuild(cached(model="mock-2"), first)
    assert moved.cache is not None
    assert first.cache is not None
    assert moved.cache.parts is first.cache.parts
    assert seen(moved) == "miss"
    assert seen(rebuild(cached(), moved)) == "hit"


def test_a_reload_may_switch_it_off_and_on(store: MemoryStore) -> None:
    first = build(cached(), store)
    seen(first)
    off = rebuild(cached(CacheMode.OFF), first)
    assert seen(off) == ""
    assert seen(rebuild(cached(), off)) == "hit"


def test_the_settings_choose_where_answers_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = CacheSettings(path=str(tmp_path))
    assert isinstance(open_entries(shared), LmdbEntries)
    assert isinstance(open_entries(CacheSettings()), MemoryEntries)
    monkeypatch.setattr("flask_gateway.app.caching.find_spec", lambda name: None)
    assert not is_shared(shared)
    assert isinstance(open_entries(shared), MemoryEntries)


def test_the_first_byte_clock_of_the_upstream_bounds_a_wait(store: MemoryStore) -> None:
    gateway = build(cached(request_timeout_seconds=3.0), store)
    assert gateway.cache is not None
    assert gateway.cache.models["kept"].patience == 3.0
    assert msgspec.structs.asdict(gateway.cache.models["other"])["name"] == "kept"


def test_without_a_cached_model_nothing_of_it_is_imported() -> None:
    program = (
        "import sys; from flask_gateway import create_app; create_app();"
        "print([name for name in sys.modules if 'lmdb' in name or name.startswith('flask_gateway.cache')"
        " or name.endswith('app.caching')])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
