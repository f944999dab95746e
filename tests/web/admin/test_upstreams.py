"""Upstreams that an admin's program takes out: wrong requests first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kit.admins import VIEWER, AdminClient

from flask_gateway.state.memory import MemoryStore


@pytest.fixture
def admins(tmp_path: Path, store: MemoryStore) -> AdminClient:
    return AdminClient(tmp_path / "data", store)


@pytest.mark.parametrize(
    "body", [{}, {"seconds": 0}, {"seconds": 86_401}, {"seconds": "1"}, {"seconds": 1, "x": 1}]
)
def test_a_time_that_is_none_is_refused(admins: AdminClient, body: dict[str, Any]) -> None:
    assert admins.ask("POST", "/upstreams/mock/take-out", body).status_code == 400


def test_an_unknown_upstream_is_404_and_a_viewer_changes_nothing(admins: AdminClient) -> None:
    answer = admins.ask("POST", "/upstreams/none/put-back")
    assert (answer.status_code, answer.json["error"]["code"]) == (404, "upstream_not_found")
    refused = admins.http.post("/admin/v1/upstreams/mock/put-back", headers=VIEWER)
    assert refused.status_code == 403


def test_an_upstream_is_out_until_it_is_put_back(
    admins: AdminClient, caplog: pytest.LogCaptureFixture
) -> None:
    secret = admins.make()["secret"]
    answer = admins.ask("POST", "/upstreams/mock/take-out", {"seconds": 600})
    assert answer.json == {"object": "upstream", "name": "mock", "taken_out": 600}
    refused = admins.chat(secret)
    assert (refused.status_code, refused.json["error"]["code"]) == (503, "upstream_unavailable")
    assert "admin admin took out for 600 s the upstream 'mock'" in caplog.text
    assert admins.ask("POST", "/upstreams/mock/put-back").json["taken_out"] == 0
    assert admins.chat(secret).status_code == 200
