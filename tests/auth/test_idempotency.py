"""Requests with an Idempotency-Key: those that are refused first, then the answer that is repeated."""

from __future__ import annotations

import pytest
from kit.admins import AdminClient
from kit.issuing import ACTOR, Issuing

from flask_gateway.auth.idempotency import REMEMBERED, earlier, remember
from flask_gateway.auth.key_body import NewKeyFields
from flask_gateway.model.errors import CallerError


@pytest.mark.parametrize("token", ["", "x" * 201, "a\nb", "\x00"])
def test_a_token_that_is_none_is_refused(issuing: Issuing, token: str) -> None:
    with issuing.changes.change(ACTOR) as step, pytest.raises(CallerError, match="Idempotency-Key"):
        earlier(step, token, b"request")


def test_a_token_of_another_request_is_refused(issuing: Issuing) -> None:
    with issuing.changes.change(ACTOR) as step:
        remember(step, "x" * 200, b"request", {"id": "a"})
        with pytest.raises(CallerError) as caught:
            earlier(step, "x" * 200, b"other")
    assert (caught.value.status, caught.value.code) == (409, "idempotency_conflict")


def test_an_answer_is_not_kept_where_the_change_fails(issuing: Issuing) -> None:
    for _ in range(2):
        with pytest.raises(CallerError):
            issuing.admin.create(ACTOR, NewKeyFields(team="nowhere"), "one")
    assert issuing.admin.create(ACTOR, NewKeyFields(), "one").created


def test_a_token_is_one_admins_and_is_forgotten_after_a_day(issuing: Issuing) -> None:
    first = issuing.admin.create(ACTOR, NewKeyFields(), "one")
    other = issuing.admin.create(ACTOR._replace(name="second"), NewKeyFields(), "one")
    assert (first.created, other.created) == (True, True)
    issuing.now += REMEMBERED
    again = issuing.admin.create(ACTOR, NewKeyFields(), "one")
    assert (again.created, again.secret, again.key) == (False, None, {**first.key, "replayed": True})
    issuing.now += 1
    assert issuing.admin.create(ACTOR, NewKeyFields(), "one").created


def test_a_key_is_made_once_for_an_idempotency_key(admins: AdminClient) -> None:
    first = admins.ask("POST", "/keys", {"note": "a"}, Idempotency_Key="one")
    again = admins.ask("POST", "/keys", {"note": "a"}, Idempotency_Key="one")
    other = admins.ask("POST", "/keys", {"note": "b"}, Idempotency_Key="one")
    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 409)
    assert again.json["id"] == first.json["id"]
    assert (again.json["secret"], again.json["replayed"]) == (None, True)
    assert len(admins.ask("GET", "/keys").json["data"]) == 1
