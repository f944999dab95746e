"""Teams of the database: those of the settings and missing ones are refused first."""

from __future__ import annotations

from pathlib import Path

import pytest
from kit.admins import AdminClient
from kit.issuing import ACTOR, Issuing

from flask_gateway.auth import key_rows
from flask_gateway.auth.key_body import TeamFields
from flask_gateway.auth.key_ring import What
from flask_gateway.model.errors import CallerError, InvalidField
from flask_gateway.model.limits import OwnerLimits
from flask_gateway.state.memory import MemoryStore


def test_a_team_of_the_settings_is_changed_there(data: Path, store: MemoryStore) -> None:
    issuing = Issuing(data, store, teams={"fixed": OwnerLimits()})
    with pytest.raises(CallerError) as caught:
        issuing.teams.put(ACTOR, "fixed", TeamFields())
    assert (caught.value.status, caught.value.code) == (409, "set_in_file")


def test_a_wrong_team_changes_nothing(issuing: Issuing) -> None:
    for name, limits in (("a b", {}), ("t", {"request": 5})):
        with pytest.raises(InvalidField):
            issuing.teams.put(ACTOR, name, TeamFields(limits=limits))
    assert not issuing.keys.exists()


def test_a_missing_team_is_404(issuing: Issuing) -> None:
    with pytest.raises(CallerError) as caught:
        issuing.teams.delete(ACTOR, "t", revoke_keys=True)
    assert (caught.value.status, caught.value.code) == (404, "team_not_found")


def test_a_team_that_is_put_again_has_exactly_the_new_fields(issuing: Issuing) -> None:
    issuing.teams.put(ACTOR, "t", TeamFields(note="old", limits={"requests": 5}))
    again = issuing.teams.put(ACTOR, "t", TeamFields(limits={"tokens": 7}))
    assert (again["note"], again["limits"], again["version"]) == ("", {"tokens": 7}, 2)
    with issuing.keys.reading() as db:
        assert key_rows.changes_between(db, 0, 9) == {0: What.LOOK}  # every worker reads the teams


def test_the_keys_of_a_deleted_team_are_revoked_and_their_streams_end(issuing: Issuing) -> None:
    issuing.teams.put(ACTOR, "t", TeamFields())
    key, gone, other = issuing.make(team="t"), issuing.make(team="t"), issuing.make()
    issuing.state(gone, "revoke")
    before = len(issuing.actions())
    issuing.teams.delete(ACTOR, "t", revoke_keys=True)
    assert issuing.actions()[before:] == [f"revoke {key.key['id']}", "delete_team team:t"]
    with issuing.keys.reading() as db:
        assert [known.id for known in key_rows.all_keys(db).values()] == [other.key["id"]]
        last = key_rows.position(db).seq
        assert key_rows.changes_between(db, last - 2, last) == {1: What.END, 0: What.LOOK}


def test_a_team_with_keys_is_deleted_with_them_only(admins: AdminClient) -> None:
    admins.ask("PUT", "/teams/search", {})
    key = admins.make(team="search")
    assert admins.ask("DELETE", "/teams/search").json["error"]["code"] == "team_has_keys"
    assert admins.ask("DELETE", "/teams/search?revoke_keys=true").status_code == 200
    assert admins.status(key["secret"]) == "invalid_api_key"
