"""Tests the heartbeat of a worker: it needs no directory, and beats as gunicorn's own does."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from flask_gateway.server.heartbeat import Heartbeat

CONFIG = SimpleNamespace(uid=os.geteuid(), gid=os.getegid(), worker_tmp_dir=None, umask=0)


def beats(heartbeat: Heartbeat) -> bool:
    heartbeat.notify()
    before = heartbeat.last_update()
    heartbeat.notify()
    return bool(heartbeat.last_update() > before)


def test_it_beats_and_has_no_name() -> None:
    heartbeat = Heartbeat(CONFIG)
    try:
        assert beats(heartbeat)
        assert "memfd:flask-gateway-heartbeat" in os.readlink(f"/proc/self/fd/{heartbeat.fileno()}")
    finally:
        heartbeat.close()


def test_without_memory_files_it_is_gunicorns(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    def refuse(name: str) -> int:
        raise OSError("not here")

    monkeypatch.setattr(os, "memfd_create", refuse)
    heartbeat = Heartbeat(SimpleNamespace(**{**vars(CONFIG), "worker_tmp_dir": str(tmp_path)}))
    try:
        assert beats(heartbeat)
        assert str(tmp_path) in os.readlink(f"/proc/self/fd/{heartbeat.fileno()}")
    finally:
        heartbeat.close()
