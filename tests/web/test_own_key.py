"""GET /v1/key: what the holder of a key is shown."""

from __future__ import annotations

import time
from pathlib import Path

from flask.testing import FlaskClient
from kit.admins import AdminClient
from kit.calls import AUTH

from flask_gateway.state.memory import MemoryStore


def test_a_key_of_the_settings_is_shown(client: FlaskClient) -> None:
    assert client.get("/v1/key").status_code == 401
    shown = client.get("/v1/key", headers=AUTH).json
    assert (shown["id"], shown["expires_at"], shown["limits"]["requests"]) == ("team-a", None, 60)


def test_an_issued_key_is_shown_with_its_limits(tmp_path: Path, store: MemoryStore) -> None:
    admins = AdminClient(tmp_path / "data", store)
    ends = int(time.time()) + 1000
    limits = {"tokens": 1000, "budgets": [{"amount": "5", "window": "day"}]}
    key = admins.make(models=["mock"], tags={"env": "prod"}, expires_at=ends, limits=limits)
    shown = admins.http.get("/v1/key", headers={"Authorization": f"Bearer {key['secret']}"}).json
    assert shown == {
        "object": "key",
        "id": key["id"],
        "team": None,
        "tags": {"env": "prod"},
        "models": ["mock"],
        "expires_at": ends,
        "limits": {
            "requests": 60,
            "tokens": 1000,
            "concurrent": 0,
            "budgets": [{"amount": "5.000000000", "window": "day", "strict": False}],
        },
    }
