"""From groups to callers: ids that cannot be another's, the order of the table, revoked accounts."""

from __future__ import annotations

import pytest

from flask_gateway.jwt_auth.accounts import Grant, GroupAccounts
from flask_gateway.jwt_auth.claims import Identity
from flask_gateway.model.errors import AccountNotAllowed, KeyRevoked
from flask_gateway.model.limits import OwnerLimits

OPS = Grant(team="ops", models=frozenset({"*"}), requests=0, concurrent=5, tags={"cost": "7"})
ACCOUNTS = GroupAccounts(
    "sso", {"ops": OPS, "staff": Grant(team="staff")}, revoked=frozenset({"mallory", "t7"})
)


def identity(subject: str = "alice", *groups: str, token: str = "") -> Identity:
    return Identity(subject, groups, 0.0, token)


def test_the_first_group_of_the_table_counts() -> None:
    caller = ACCOUNTS.caller_of(identity("alice", "staff", "ops"))
    assert (caller.id, caller.team, caller.rate_limit, caller.max_concurrent) == ("sso:alice", "ops", 0, 5)
    assert (caller.models, caller.tags) == (frozenset({"*"}), {"cost": "7"})
    assert ACCOUNTS.caller_of(identity("bob", "x", "staff")).team == "staff"


def test_a_group_may_keep_its_content_out_of_logs_and_bring_tags() -> None:
    grant = Grant(policy=OwnerLimits(content=False, request_tags=("case",)))
    caller = GroupAccounts("sso", {"ops": grant}).caller_of(identity("alice", "ops"))
    assert (caller.content, caller.request_tags) == (False, {"case"})
    assert ACCOUNTS.caller_of(identity("alice", "ops")).content


def test_callers_without_a_group_need_a_default() -> None:
    with pytest.raises(AccountNotAllowed):
        ACCOUNTS.caller_of(identity("alice", "OPS", "ops "))
    assert ACCOUNTS._replace(default=Grant(team="guests")).caller_of(identity()).team == "guests"


@pytest.mark.parametrize("one", [identity("mallory", "ops"), identity("alice", "ops", token="t7")])
def test_revoked(one: Identity) -> None:
    with pytest.raises(KeyRevoked):
        ACCOUNTS.caller_of(one)


@pytest.mark.parametrize("subject", ["alice", "a@b.example", "auth0|5f", "00u1-x_y", "107353426" * 3])
def test_usual_subjects_are_shown_as_they_are(subject: str) -> None:
    assert ACCOUNTS.caller_of(identity(subject, "ops")).id == f"sso:{subject}"


@pytest.mark.parametrize(
    "subject", ["x/model:gpt", "a:b", "a b", "a\nb", "ü", "\ud800", "s" * 65, "sha256-" + "0" * 32, "../x"]
)
def test_subjects_that_could_be_something_else_are_digests(subject: str) -> None:
    shown = ACCOUNTS.caller_of(identity(subject, "ops")).id
    assert shown.startswith("sso:sha256-")
    assert shown != f"sso:{subject}"


def test_the_teams_of_the_table() -> None:
    assert ACCOUNTS._replace(default=Grant(team="guests")).teams == {"ops", "staff", "guests"}
