"""The way to /admin/v1: admins alone, and nothing of it is there without an admin's key."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from kit.admins import ADMINS, VIEWER, AdminClient
from kit.calls import AUTH

from flask_gateway.config.errors import ConfigError
from flask_gateway.config.load import load

ADMIN_KEY = "planted-admin-key-of-32-letters!"
ADMIN = {"Authorization": f"Bearer {ADMIN_KEY}"}


@pytest.fixture
def client(make_client: Callable[..., FlaskClient]) -> FlaskClient:
    return make_client(admins=ADMINS, cors_origins=("*",))


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
    client = make_client(admins=ADMINS, failed_keys_per_minute=2)
    wrong = {"Authorization": "Bearer wrong"}
    statuses = [client.get("/admin/v1", headers=wrong).status_code for _ in range(3)]
    assert statuses == [401, 401, 429]
    assert client.get("/admin/v1", headers=ADMIN).status_code == 200


def test_a_page_of_another_origin_gets_no_permission(client: FlaskClient) -> None:
    answer = client.get("/admin/v1", headers={**ADMIN, "Origin": "https://a.example"})
    assert "Access-Control-Allow-Origin" not in answer.headers


def changing_paths(admins: AdminClient) -> list[tuple[str, str]]:
    """Each method and path of /admin/v1 that is not for reading."""
    rules = [rule for rule in admins.app.url_map.iter_rules() if rule.rule.startswith("/admin/v1")]
    return [
        (method, re.sub("<[^>]+>", "x", rule.rule).removeprefix("/admin/v1"))
        for rule in rules
        for method in (rule.methods or set()) - {"GET", "HEAD", "OPTIONS"}
    ]


def test_a_viewer_reads_and_changes_nothing_on_any_path(admins: AdminClient) -> None:
    key = admins.make(name="web")
    paths = changing_paths(admins)
    assert len(paths) > 9
    for method, path in paths:
        answer = admins.ask(method, path, {}, **VIEWER)
        assert (answer.status_code, answer.json["error"]["code"]) == (403, "admin_role_required"), path
    for path in ("", "/keys", f"/keys/{key['id']}", "/teams", "/audit", "/openapi.json"):
        assert admins.ask("GET", path, **VIEWER).status_code == 200
    assert admins.ask("GET", "", **VIEWER).json == {"object": "admin", "name": "eyes", "role": "viewer"}


def test_the_audit_names_the_admin(admins: AdminClient) -> None:
    admins.make(name="web")
    (entry,) = admins.ask("GET", "/audit", **VIEWER).json["data"]
    assert entry["admin"] == "admin"


def test_admins_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    (tmp_path / "ann.key").write_text("planted-key-of-ann-24-letters\n")
    file.write_text(
        f'[ledger]\ndata = "{tmp_path}"\n[admins.ann]\nkey_file = "ann.key"\n'
        f'[admins.eyes]\nsha256 = "{"ab" * 32}"\nrole = "viewer"\n'
    )
    settings = load({"GATEWAY_CONFIG": str(file), "GATEWAY_ADMIN_KEY": ADMIN_KEY})
    shown = [(one.name, str(one.role)) for one in settings.admins]
    assert shown == [("admin", "admin"), ("ann", "admin"), ("eyes", "viewer")]


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ('[admins.a]\nsha256 = "zz"', "admins.a.sha256"),
        ("[admins.a]", "admins.a: expected key_env, key_file or sha256"),
        ('[admins.a]\nkey = "planted"', "no secret in the file"),
        ('[admins.a]\nkey_env = "SHORT"', "at least 24"),
        (f'[admins.a]\nsha256 = "{"ab" * 32}"\nrole = "reader"', "admin or viewer"),
        (f'[admins.admin]\nsha256 = "{"ab" * 32}"', "a name of its own"),
        ('[admins.a]\nkey_env = "SAME"', "a key that is used for nothing else"),
    ],
)
def test_a_wrong_admin_is_refused(tmp_path: Path, table: str, told: str) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(f'[ledger]\ndata = "{tmp_path}"\n{table}\n')
    with pytest.raises(ConfigError, match=re.escape(told)) as refused:
        load(
            {
                "GATEWAY_CONFIG": str(file),
                "GATEWAY_ADMIN_KEY": ADMIN_KEY,
                "SHORT": "planted-short",
                "SAME": ADMIN_KEY,
            }
        )
    assert "planted" not in str(refused.value)


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
