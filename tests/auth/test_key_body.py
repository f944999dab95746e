"""The fields that an admin sends: each mistake is refused by name, and others become columns."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from kit.admins import AdminClient
from kit.calls import make_settings

from flask_gateway.auth.key_body import (
    KeyFields,
    NewKeyFields,
    RotateFields,
    TeamFields,
    checked_digest,
    checked_key,
    checked_name,
    checked_team,
    parsed,
    with_team_defaults,
)
from flask_gateway.model.errors import InvalidField
from flask_gateway.model.limits import OwnerLimits
from flask_gateway.state.memory import MemoryStore

SETTINGS = make_settings(teams={"fixed": OwnerLimits(key_defaults={"requests": 7})})
NOW = 1000


def columns(**fields: Any) -> dict[str, Any]:
    return checked_key(KeyFields(**fields), SETTINGS, {"made": {}}, NOW)


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"null", b'{"nmae": "x"}', b'{"tags": []}', b"[" * 100_000, b'{"note": "\xff"}']
)
def test_a_body_of_another_shape_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidField, match="does not fit") as caught:
        parsed(body, NewKeyFields)
    assert len(caught.value.message) < 300


def test_an_empty_body_has_no_fields() -> None:
    assert columns() == checked_key(parsed(b"", KeyFields), SETTINGS, {}, NOW) == {}
    assert parsed(b"{}", RotateFields).overlap == 86400


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"name": ""}, "name"),
        ({"team": "t" * 5000}, "team"),
        ({"owner": "a\x1bb"}, "owner"),
        ({"note": "é" * 5000}, "note"),
        ({"models": ["m"] * 201}, "models"),
        ({"models": ["m" * 201]}, "models"),
        ({"models": [" "]}, "models"),
        ({"models": ["m" * 100] * 200}, "models"),
        ({"tags": {"a": 1}}, "tags"),
        ({"limits": {"requests": -1}}, "limits"),
        ({"expires_at": NOW}, "expires_at"),
        ({"expires_at": 2**40}, "expires_at"),
    ],
)
def test_a_field_that_cannot_be_used_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidField) as caught:
        columns(**fields)
    assert caught.value.param == param
    assert len(caught.value.message) < 400


def test_null_takes_a_field_away() -> None:
    fields = {"name": None, "team": None, "models": None, "expires_at": None}
    assert columns(**fields) == {"name": None, "team": "", "models": "null", "expires_at": None}


def test_fields_become_columns() -> None:
    assert columns(
        team="made", models=["a*"], tags={"env": "prod"}, expires_at=NOW + 1, note="two\nlines"
    ) == {
        "team": "made",
        "models": '["a*"]',
        "tags": '{"env":"prod"}',
        "expires_at": NOW + 1,
        "note": "two\nlines",
    }
    assert columns(team="fixed") == {"team": "fixed"}


@pytest.mark.parametrize("digest", ["", "aa", "g" * 64, sha256(b"").hexdigest()])
def test_a_digest_that_is_none_is_refused(digest: str) -> None:
    with pytest.raises(InvalidField) as caught:
        checked_digest(digest)
    assert caught.value.param == "sha256"


def test_a_name_with_other_characters_is_refused() -> None:
    for name in ("", "a b", "a/b", "ü"):
        with pytest.raises(InvalidField):
            checked_name("team", name)
    assert checked_name("team", "search-1") == "search-1"


def test_limits_of_a_team_are_checked() -> None:
    with pytest.raises(InvalidField) as caught:
        checked_team(TeamFields(limits={"request": 5}), SETTINGS)
    assert caught.value.param == "limits"
    assert checked_team(TeamFields(limits={"requests": 5}), SETTINGS)["limits"] == '{"requests":5}'


def test_limits_that_were_sent_win_over_those_of_the_team() -> None:
    teams = {"made": {"limits": '{"key_defaults":{"requests":5,"tokens":9}}'}}
    sent = with_team_defaults(KeyFields(team="made", limits={"requests": 1}), SETTINGS, teams)
    assert sent.limits == {"requests": 1, "tokens": 9}
    assert with_team_defaults(KeyFields(team="fixed"), SETTINGS, teams).limits == {"requests": 7}
    for unknown in (KeyFields(), KeyFields(team=None), KeyFields(team="nowhere")):
        assert with_team_defaults(unknown, SETTINGS, teams) == unknown


def test_a_new_key_of_a_team_has_the_limits_that_the_team_gives_new_keys(
    data: Path, store: MemoryStore
) -> None:
    policy = OwnerLimits(key_defaults={"requests": 7})
    admins = AdminClient(data, store, teams={"fixed": policy})
    wrong = admins.ask("PUT", "/teams/search", {"limits": {"key_defaults": {"request": 5}}})
    assert (wrong.status_code, wrong.json["error"]["param"]) == (400, "limits")
    defaults = {"requests": 5, "budgets": [{"amount": "2", "window": "day"}]}
    assert admins.ask("PUT", "/teams/search", {"limits": {"key_defaults": defaults}}).status_code == 200
    assert admins.make(team="search")["limits"] == defaults
    assert admins.make(team="search", limits={"requests": 9})["limits"] == {**defaults, "requests": 9}
    assert admins.make(team="fixed")["limits"] == {"requests": 7}
    assert admins.make()["limits"] == {}
    kept = admins.make(team="search", limits={"tokens": 1})
    assert "budgets" in admins.ask("PATCH", f"/keys/{kept['id']}", {"note": "x"}).json["limits"]
    assert admins.ask("PATCH", f"/keys/{kept['id']}", {"limits": {}}).json["limits"] == {}
