"""Keys and teams as admins see them, and the words of refusals. Nothing shows a secret."""

from __future__ import annotations

import msgspec
from kit.issuing import ACTOR, Issuing

from flask_gateway.auth import key_tables as tables
from flask_gateway.auth.key_body import RotateFields
from flask_gateway.auth.key_views import (
    audit_object,
    conflict,
    key_object,
    missing,
    team_object,
    version_mismatch,
)


def test_a_key_shows_no_secret_and_no_digest(issuing: Issuing) -> None:
    made = issuing.make(name="web")
    with issuing.keys.reading() as db:
        row = tables.key_by_name(db, "web")
        assert row is not None
        (secret,) = secrets = tables.secrets_of(db, row.number)
    text = msgspec.json.encode(key_object(row, secrets, 1000)).decode()
    assert str(made.secret) not in text
    assert secret.digest.hex() not in text
    assert secret.hint in text


def test_a_secret_that_has_ended_is_left_out(issuing: Issuing) -> None:
    made = issuing.make()
    issuing.admin.rotate(ACTOR, made.key["id"], RotateFields(overlap=60))
    with issuing.keys.reading() as db:
        row = tables.key_by_id(db, made.key["id"])
        assert row is not None
        secrets = tables.secrets_of(db, row.number)
    shown = [len(key_object(row, secrets, now)["secrets"]) for now in (1059, 1060)]
    assert shown == [2, 1]


def test_texts_of_the_database_are_shown_as_values() -> None:
    assert team_object({"name": "t", "limits": '{"requests":5}'})["limits"] == {"requests": 5}
    entry = audit_object({"number": 1, "before": "null", "after": '{"a":1}'})
    assert (entry["before"], entry["after"]) == (None, {"a": 1})


def test_refusals_have_a_status_and_a_code() -> None:
    errors = [conflict("m", "taken"), missing("m", "gone"), version_mismatch(3)]
    assert [(error.status, error.code) for error in errors] == [
        (409, "taken"),
        (404, "gone"),
        (412, "version_mismatch"),
    ]
    assert "version 3" in errors[2].message
