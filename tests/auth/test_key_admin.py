"""Making and changing issued keys: conflicts first, then rotations and versions."""

from __future__ import annotations

from hashlib import sha256

import pytest
from kit.admins import ADMIN_KEY, ADMINS, AdminClient
from kit.issuing import ACTOR, Issuing
from kit.planted import KEY

from flask_gateway.auth.key_admin import LONGEST_OVERLAP
from flask_gateway.auth.key_body import KeyFields, NewKeyFields, RotateFields
from flask_gateway.model.errors import CallerError, InvalidField


@pytest.mark.parametrize("overlap", [-1, LONGEST_OVERLAP + 1])
def test_an_overlap_that_is_too_long_is_refused(issuing: Issuing, overlap: int) -> None:
    made = issuing.make()
    with pytest.raises(InvalidField, match="overlap"):
        issuing.admin.rotate(ACTOR, made.key["id"], RotateFields(overlap=overlap))


def test_a_key_of_an_admin_is_no_secret_of_a_key(issuing: Issuing) -> None:
    both = Issuing(issuing.keys.path.parent, issuing.store, admins=ADMINS)
    with pytest.raises(CallerError) as caught:
        both.make(sha256=sha256(ADMIN_KEY.encode()).hexdigest())
    assert caught.value.code == "secret_taken"
    with both.keys.reading() as db:
        assert db.execute("SELECT count(*) FROM key").fetchone() == (0,)


def test_a_missing_key_is_404_and_its_id_is_cut(issuing: Issuing) -> None:
    with pytest.raises(CallerError) as caught:
        issuing.admin.edit(ACTOR, "k" * 5000, KeyFields(), None)
    assert (caught.value.status, len(caught.value.message) < 300) == (404, True)


def test_a_revoked_key_is_revoked_again_and_never_changes(issuing: Issuing) -> None:
    made = issuing.make()
    for _ in range(2):
        issuing.state(made, "revoke")
    for change in (
        lambda: issuing.state(made, "enable"),
        lambda: issuing.admin.edit(ACTOR, made.key["id"], KeyFields(note="x"), None),
        lambda: issuing.admin.rotate(ACTOR, made.key["id"], RotateFields()),
    ):
        with pytest.raises(CallerError) as caught:
            change()
        assert caught.value.code == "key_is_revoked"


def test_a_key_keeps_its_own_name_and_takes_no_other_keys(issuing: Issuing) -> None:
    made, _ = issuing.make(name="web"), issuing.make(name="taken")
    assert issuing.admin.edit(ACTOR, made.key["id"], KeyFields(name="web"), None)["version"] == 2
    with pytest.raises(CallerError) as caught:
        issuing.admin.edit(ACTOR, made.key["id"], KeyFields(name="taken"), None)
    assert caught.value.code == "name_taken"


def test_a_secret_that_its_creator_keeps_is_not_shown(issuing: Issuing) -> None:
    made = issuing.make(sha256=sha256(b"planted-own").hexdigest(), hint="h" * 50)
    assert (made.secret, made.created) == (None, True)
    assert made.key["secrets"][0]["hint"] == "h" * 40


def test_a_secret_that_has_ended_makes_room_for_another(issuing: Issuing) -> None:
    made = issuing.make()
    for _ in range(3):
        issuing.admin.rotate(ACTOR, made.key["id"], RotateFields(overlap=60))
    issuing.now += 60
    rotated = issuing.admin.rotate(ACTOR, made.key["id"], RotateFields(overlap=60))
    assert len(rotated.key["secrets"]) == 2


def test_put_by_name_leaves_the_secret_and_raises_the_version(issuing: Issuing) -> None:
    first = issuing.admin.put_named(ACTOR, "web", NewKeyFields(note="a"))
    again = issuing.admin.put_named(ACTOR, "web", NewKeyFields())
    assert (first.created, again.created, again.secret) == (True, False, None)
    assert again.key == {**first.key, "note": "", "version": 2}


def test_a_name_is_given_once_until_its_key_is_revoked(admins: AdminClient) -> None:
    first = admins.make(name="web")
    assert admins.ask("POST", "/keys", {"name": "web"}).json["error"]["code"] == "name_taken"
    admins.ask("DELETE", f"/keys/{first['id']}")
    assert admins.make(name="web")["id"] != first["id"]


def test_a_secret_of_another_key_or_of_the_settings_is_refused(admins: AdminClient) -> None:
    digest = sha256(b"planted-other-key").hexdigest()
    assert admins.ask("POST", "/keys", {"sha256": digest}).status_code == 201
    for taken in (digest, sha256(KEY.encode()).hexdigest()):
        answer = admins.ask("POST", "/keys", {"sha256": taken})
        assert (answer.status_code, answer.json["error"]["code"]) == (409, "secret_taken")
    assert len(admins.ask("GET", "/keys").json["data"]) == 1


def test_a_change_of_one_field_leaves_the_others(admins: AdminClient) -> None:
    key = admins.make(name="web", models=["mock"], tags={"env": "prod"}, limits={"requests": 7})
    changed = admins.ask("PATCH", f"/keys/{key['id']}", {"models": None}).json
    assert changed == {**{name: key[name] for name in changed}, "models": None, "version": 2}


def test_put_by_name_makes_a_key_and_then_gives_it_exactly_the_fields(admins: AdminClient) -> None:
    made = admins.ask("PUT", "/keys/by-name/web", {"models": ["mock"], "note": "a"})
    changed = admins.ask("PUT", "/keys/by-name/web", {"note": "b"})
    assert (made.status_code, changed.status_code) == (201, 200)
    assert (changed.json["id"], changed.json["models"], changed.json["secret"]) == (
        made.json["id"],
        None,
        None,
    )
    assert admins.status(made.json["secret"]) == 200


def test_a_rotated_key_has_two_secrets_for_the_overlap(admins: AdminClient) -> None:
    key = admins.make()
    rotated = admins.ask("POST", f"/keys/{key['id']}/rotate", {"overlap": 3600}).json
    assert rotated["id"] == key["id"]
    assert [admins.status(secret) for secret in (key["secret"], rotated["secret"])] == [200, 200]
    last = admins.ask("POST", f"/keys/{key['id']}/rotate", {"overlap": 0}).json
    told = [admins.status(one["secret"]) for one in (key, rotated, last)]
    assert told == ["invalid_api_key", "invalid_api_key", 200]
    assert len(last["secrets"]) == 1


def test_a_key_has_at_most_four_secrets(admins: AdminClient) -> None:
    key = admins.make()
    statuses = [admins.ask("POST", f"/keys/{key['id']}/rotate").status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 409]
