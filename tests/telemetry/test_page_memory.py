"""The file in memory of the operator's page: no server but gunicorn's master gives one."""

from __future__ import annotations

import pytest

from flask_gateway.telemetry import page_memory


def test_a_worker_without_a_file_has_no_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_memory, "attached", (9, 9))
    page_memory.attach(None, 3)
    assert page_memory.attached is None
    page_memory.attach(7, 3)
    assert page_memory.attached == (7, 3)
