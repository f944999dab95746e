"""The rows from which a worker knows callers: keys that it must not know first."""

from __future__ import annotations

from hashlib import sha256

from kit.issuing import ACTOR, Issuing

from flask_gateway.auth import key_rows
from flask_gateway.auth.key_body import RotateFields, TeamFields
from flask_gateway.auth.key_ring import What


def test_the_secrets_of_a_revoked_key_are_unknown(issuing: Issuing) -> None:
    kept, gone = issuing.make(), issuing.make()
    issuing.state(gone, "revoke")
    with issuing.keys.reading() as db:
        (known,) = key_rows.all_keys(db).items()
        assert (known[0], known[1].id) == (sha256(str(kept.secret).encode()).digest(), kept.key["id"])
        assert key_rows.keys_numbered(db, (2, 99)) == {}
        assert key_rows.keys_numbered(db, (1, 2)).keys() == {known[0]}


def test_a_disabled_key_is_known_as_such_with_its_moments(issuing: Issuing) -> None:
    made = issuing.make(expires_at=5000)
    issuing.admin.rotate(ACTOR, made.key["id"], RotateFields(overlap=60))
    issuing.state(made, "disable")
    with issuing.keys.reading() as db:
        known = key_rows.all_keys(db).values()
    assert {(one.disabled, one.expires_at) for one in known} == {(True, 5000)}
    assert sorted(one.ends_at for one in known) == [0, 1060]


def test_keys_with_equal_grants_share_one_object(issuing: Issuing) -> None:
    for limits in ({"requests": 5}, {"requests": 5}, {}):
        issuing.make(limits=limits)
    with issuing.keys.reading() as db:
        grants = [known.grants for known in key_rows.all_keys(db).values()]
    assert len({id(one) for one in grants}) == 2


def test_of_several_changes_of_a_key_the_strongest_counts(issuing: Issuing) -> None:
    made, _ = issuing.make(), issuing.make()
    issuing.state(made, "disable", end_streams=True)
    issuing.state(made, "enable")
    with issuing.keys.reading() as db:
        assert key_rows.position(db).seq == 4
        assert key_rows.changes_between(db, 0, 4) == {1: What.END, 2: What.LOOK}
        assert key_rows.changes_between(db, 3, 4) == {1: What.LOOK}
        assert key_rows.changes_between(db, 4, 4) == {}


def test_the_limits_of_teams_are_texts(issuing: Issuing) -> None:
    with issuing.keys.writing() as db:
        assert (key_rows.position(db), key_rows.team_limits(db)) == (key_rows.Position(0), {})
    issuing.teams.put(ACTOR, "search", TeamFields(limits={"requests": 5}))
    with issuing.keys.reading() as db:
        assert key_rows.team_limits(db) == {"search": '{"requests":5}'}
