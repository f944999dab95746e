"""Tests what stops a start: each setting alone, all of them together, and with this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from flask_gateway.app import preflight
from flask_gateway.config.errors import ConfigError

BASE = {"GATEWAY_API_KEYS": "a-key-of-a-test-1"}


def refused(environ: dict[str, str], binds: list[str] | None = None, workers: int | None = 1) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        preflight.load_checked({**BASE, **environ}, binds or [], workers)
    return caught.value.lines()


def test_all_that_stops_a_start_is_named_at_once() -> None:
    lines = refused(
        {
            "GATEWAY_API_KEYS": "dev-key",
            "GATEWAY_UPSTREAMS": "a=mock://local?latncy_ms=3",
            "GATEWAY_STATE": "memory://",
        },
        ["0.0.0.0:8000"],
        2,
    )
    assert [line.split("=")[0] for line in lines] == ["upstreams.a", "GATEWAY_BIND", "GATEWAY_STATE"]


def test_redis_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "find_spec", lambda name: None)
    (line,) = refused({"GATEWAY_STATE": "redis://:secret@127.0.0.1/0"})
    assert "the redis package, which is not installed" in line
    assert "secret" not in line


def test_the_servers_addresses_count_before_those_of_the_settings() -> None:
    environ = {"GATEWAY_API_KEYS": "dev-key", "GATEWAY_BIND": "0.0.0.0:8000"}
    assert "GATEWAY_BIND='0.0.0.0:8000'" in refused(environ)[0]
    assert preflight.load_checked(environ, ["127.0.0.1:8000"], 1).settings.keys


def test_a_reload_that_would_leave_the_defaults_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text("[upstreams.a]\nurl = 'http://127.0.0.1:1'\n")
    environ = {**BASE, "GATEWAY_CONFIG": str(file)}
    before = preflight.load_checked(environ, [], 1)
    preflight.refuse_emptied(before.settings, before)
    file.write_text("")
    with pytest.raises(ConfigError, match="upstreams: expected some, as before; the file has none left"):
        preflight.refuse_emptied(before.settings, preflight.load_checked(environ, [], 1))
