"""The issued keys for an admin's request: bodies that are refused first, then the audit."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from kit.admins import ADMIN, AdminClient

from flask_gateway.auth.issued_keys import IssuedKeys
from flask_gateway.state.memory import MemoryStore


def test_a_body_that_is_too_large_or_no_json_is_refused(admins: AdminClient) -> None:
    assert admins.ask("POST", "/keys", {"note": "x" * 70_000}).status_code == 413
    answer = admins.http.post("/admin/v1/keys", data=b"{", headers=ADMIN, content_type="application/json")
    assert answer.status_code == 400


def test_the_audit_has_each_change_and_no_secret(admins: AdminClient, data: Path) -> None:
    key = admins.make(name="web")
    rotated = admins.ask("POST", f"/keys/{key['id']}/rotate").json
    admins.ask("DELETE", f"/keys/{key['id']}")
    page = admins.ask("GET", f"/audit?subject={key['id']}").json
    assert [entry["action"] for entry in page["data"]] == ["revoke", "rotate", "create"]
    assert page["data"][0]["before"]["state"] == "active"
    assert page["data"][0]["after"]["state"] == "revoked"
    everything = json.dumps(page) + json.dumps(admins.ask("GET", "/keys").json)
    files = b"".join(file.read_bytes() for file in data.rglob("*") if file.is_file())
    for secret in (key["secret"], rotated["secret"]):
        assert secret not in everything
        assert secret[10:40].encode() not in files


def test_while_another_process_holds_the_database_keys_go_on_and_blocks_hold(
    admins: AdminClient, data: Path, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The other worker must not look by itself between the change and the lock.
    monkeypatch.setattr(IssuedKeys, "look", lambda self: None)
    other = AdminClient(data, store)
    key, second = admins.make(), admins.make()
    assert other.status(key["secret"]) == other.status(second["secret"]) == 200
    admins.ask("POST", f"/keys/{second['id']}/disable")
    with closing(sqlite3.connect(data / "keys.db", isolation_level=None)) as holder, holder:
        holder.execute("BEGIN EXCLUSIVE")
        assert other.status(key["secret"]) == 200
        assert other.status(second["secret"]) == "invalid_api_key"
        assert other.status("sk-fgw-unknown") == "keys_unavailable"
        answer = admins.ask("POST", "/keys", {})
        assert (answer.status_code, answer.json["error"]["code"]) == (503, "keys_unavailable")
        holder.execute("ROLLBACK")


def test_the_audit_names_the_admin_the_request_and_the_address(admins: AdminClient) -> None:
    key = admins.make()
    (entry,) = admins.ask("GET", f"/audit?subject={key['id']}").json["data"]  # type: ignore[index]
    assert (entry["admin"], entry["address"]) == ("admin", "127.0.0.1")
    assert entry["request"]


def test_a_request_without_a_body_has_no_fields(admins: AdminClient) -> None:
    answer = admins.http.post("/admin/v1/keys", headers=ADMIN)
    assert (answer.status_code, answer.json["note"]) == (201, "")  # type: ignore[index]
