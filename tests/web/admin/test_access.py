"""The way to /admin/v1: admins alone, and nothing of it is there without an admin's key."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from kit.calls import AUTH

from flask_gateway.config.errors import ConfigError
from flask_gateway.config.load import load

ADMIN_KEY = "planted-admin-key-of-32-letters!"
ADMIN = {"Authorization": f"Bearer {ADMIN_KEY}"}


@pytest.fixture
def client(make_client: Callable[..., FlaskClient]) -> FlaskClient:
    return make_client(admin_digest=sha256(ADMIN_KEY.encode()).digest(), cors_origins=("*",))


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 401), ({"Authorization": "Bearer wrong"}, 401), (AUTH, 404), (ADMIN, 200)],
)
@pytest.mark.parametrize("path", ["/admin/v1"])
def test_admins_alone_are_admitted(
    client: FlaskClient, path: str, headers: dict[str, str], status: int
) -> None:
    assert client.get(path, headers=headers).status_code == status


def test_an_admin_is_no_caller(client: FlaskClient) -> None:
    assert client.get("/v1/models", headers=ADMIN).status_code == 401


@pytest.mark.parametrize("target", ["//admin/v1", "/%61dmin/v1"])
def test_a_path_that_a_proxys_rule_may_miss_is_not_there(client: FlaskClient, target: str) -> None:
    answer = client.get("/admin/v1", headers=ADMIN, environ_overrides={"RAW_URI": target})
    assert answer.status_code == 404


def test_wrong_keys_are_counted_here_too(make_client: Callable[..., FlaskClient]) -> None:
    client = make_client(admin_digest=sha256(ADMIN_KEY.encode()).digest(), failed_keys_per_minute=2)
    wrong = {"Authorization": "Bearer wrong"}
    statuses = [client.get("/admin/v1", headers=wrong).status_code for _ in range(3)]
    assert statuses == [401, 401, 429]
    assert client.get("/admin/v1", headers=ADMIN).status_code == 200


def test_a_page_of_another_origin_gets_no_permission(client: FlaskClient) -> None:
    answer = client.get("/admin/v1", headers={**ADMIN, "Origin": "https://a.example"})
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_without_an_admins_key_there_is_no_such_path(make_client: Callable[..., FlaskClient]) -> None:
    client = make_client()
    assert client.get("/admin/v1", headers=AUTH).status_code == 404
    assert client.get("/admin/v1", headers=ADMIN).status_code == 401


@pytest.mark.parametrize("key", ["too-short", "planted-caller-key-that-is-long"])
def test_a_key_that_is_short_or_a_callers_is_refused(key: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load({"GATEWAY_API_KEYS": "planted-caller-key-that-is-long", "GATEWAY_ADMIN_KEY": key})
    assert "GATEWAY_ADMIN_KEY" in str(refused.value)
    assert key not in str(refused.value)


def test_an_admins_key_needs_a_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[ledger\]"):
        load({"GATEWAY_ADMIN_KEY": ADMIN_KEY})
