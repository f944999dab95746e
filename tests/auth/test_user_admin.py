"""Limits of single end users: owners and names that are refused first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from kit.issuing import ACTOR, Issuing

from flask_gateway.auth import key_tables as tables
from flask_gateway.auth.key_body import TeamFields, UserFields
from flask_gateway.auth.user_admin import policy_of_owner
from flask_gateway.model.errors import CallerError, InvalidField
from flask_gateway.model.limits import Limits, OwnerLimits
from flask_gateway.state.memory import MemoryStore

FIELDS = UserFields(limits={"requests": 2})


@pytest.fixture
def team(data: Path, store: MemoryStore) -> Issuing:
    """A team of the settings, and one of the database."""
    issuing = Issuing(data, store, teams={"fixed": OwnerLimits(own=Limits(requests=3))})
    issuing.teams.put(ACTOR, "t", TeamFields(note="kept", limits={"requests": 9}))
    return issuing


def limits_of(issuing: Issuing, owner: str) -> dict[str, Any]:
    with issuing.keys.reading() as db:
        row = tables.key_by_id(db, owner)
        text = row.limits if row else tables.teams(db)[owner]["limits"]
    found: dict[str, Any] = msgspec.json.decode(text)
    return found


@pytest.mark.parametrize("name", ["", "x" * 65, "a\nb"])
def test_a_name_that_is_none_is_refused(team: Issuing, name: str) -> None:
    with pytest.raises(InvalidField) as caught:
        team.users.put(ACTOR, "t", name, FIELDS)
    assert caught.value.param == "name"


@pytest.mark.parametrize(
    ("owner", "code"), [("fixed", "set_in_file"), ("team-a", "set_in_file"), ("nowhere", "owner_not_found")]
)
def test_an_owner_of_the_settings_or_none_is_refused(team: Issuing, owner: str, code: str) -> None:
    for change in (
        lambda: team.users.put(ACTOR, owner, "ann", FIELDS),
        lambda: team.users.delete(ACTOR, owner, "ann"),
    ):
        with pytest.raises(CallerError) as caught:
            change()
        assert caught.value.code == code


def test_limits_that_cannot_be_used_change_nothing(team: Issuing) -> None:
    with pytest.raises(InvalidField):
        team.users.put(ACTOR, "t", "ann", UserFields(limits={"request": 1}))
    assert limits_of(team, "t") == {"requests": 9}
    assert team.actions() == ["put_team team:t"]


def test_the_limits_of_a_user_come_and_go_and_the_teams_stay(team: Issuing) -> None:
    for name in ("ann", "bob"):
        team.users.put(ACTOR, "t", name, FIELDS)
    both = {"ann": {"requests": 2}, "bob": {"requests": 2}}
    assert limits_of(team, "t") == {"users": True, "requests": 9, "user_limits": both}
    team.users.delete(ACTOR, "t", "ann")
    team.users.delete(ACTOR, "t", "bob")
    assert limits_of(team, "t") == {"users": True, "requests": 9}
    with pytest.raises(CallerError) as caught:
        team.users.delete(ACTOR, "t", "bob")
    assert caught.value.code == "user_not_found"


def test_users_of_a_key_have_limits_unless_it_is_revoked(team: Issuing) -> None:
    made = team.make()
    team.users.put(ACTOR, made.key["id"], "ann", FIELDS)
    assert limits_of(team, made.key["id"])["user_limits"] == {"ann": {"requests": 2}}
    team.state(made, "revoke")
    with pytest.raises(CallerError) as caught:
        team.users.put(ACTOR, made.key["id"], "ann", FIELDS)
    assert caught.value.code == "key_is_revoked"


def test_the_policy_of_each_kind_of_owner(team: Issuing) -> None:
    made = team.make(limits={"tokens": 7})
    with team.keys.reading() as db:
        found = [
            policy_of_owner(db, team.settings, owner).own
            for owner in ("fixed", "team-a", "t", made.key["id"])
        ]
        with pytest.raises(CallerError):
            policy_of_owner(db, team.settings, "nowhere")
    assert found == [Limits(requests=3), Limits(), Limits(requests=9), Limits(tokens=7)]
