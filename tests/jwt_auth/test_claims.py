"""Issuer, audience, times and further claims of a token."""

from __future__ import annotations

from typing import Any

import pytest

from flask_gateway.jwt_auth.claims import MOST_GROUPS, ClaimRefused, ClaimRules, identity_of

NOW = 1_800_000_000.0
RULES = ClaimRules("https://login.example", frozenset({"gateway", "other"}), leeway=30.0)


def claims(**changed: Any) -> dict[str, Any]:
    good = {"iss": "https://login.example", "aud": "gateway", "sub": "alice", "exp": NOW + 100, "iat": NOW}
    return {name: value for name, value in (good | changed).items() if value is not ...}


def test_a_good_token() -> None:
    found = identity_of(claims(groups=["a", "b"], jti="t1"), RULES, NOW)
    assert found == ("alice", ("a", "b"), NOW + 130, "t1")


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": ...},
        {"iss": "https://login.example/"},
        {"iss": ["https://login.example"]},
        {"aud": ...},
        {"aud": "gateway2"},
        {"aud": []},
        {"aud": {"gateway": 1}},
        {"aud": [["gateway"]]},
        {"exp": ...},
        {"exp": None},
        {"exp": str(NOW + 100)},
        {"exp": True},
        {"exp": float("inf")},
        {"exp": float("nan")},
        {"exp": NOW - 30},
        {"exp": -1},
        {"nbf": NOW + 31},
        {"nbf": "soon"},
        {"iat": NOW + 31},
        {"iat": {}},
        {"sub": ...},
        {"sub": ""},
        {"sub": 7},
        {"sub": "a" * 256},
    ],
)
def test_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(ClaimRefused):
        identity_of(claims(**changed), RULES, NOW)


@pytest.mark.parametrize(
    "changed",
    [{"exp": NOW - 29.9}, {"nbf": NOW + 30}, {"iat": NOW + 30}, {"iat": ...}, {"aud": ["x", "other"]}],
)
def test_accepted_within_the_leeway(changed: dict[str, Any]) -> None:
    assert identity_of(claims(**changed), RULES, NOW).subject == "alice"


def test_only_the_end_is_told_as_expiry() -> None:
    with pytest.raises(ClaimRefused) as refused:
        identity_of(claims(exp=NOW - 100), RULES, NOW)
    assert refused.value.expired
    with pytest.raises(ClaimRefused) as refused:
        identity_of(claims(exp=NOW - 100, aud="x"), RULES, NOW)
    assert not refused.value.expired


def test_claims_inside_others_and_with_dots() -> None:
    rules = RULES._replace(groups="realm_access.roles", subject="https://x.example/name")
    found = claims(realm_access={"roles": ["ops"]}, **{"https://x.example/name": "bob"})
    assert identity_of(found, rules, NOW)[:2] == ("bob", ("ops",))


@pytest.mark.parametrize("groups", [..., None, 7, {"staff": 1}, [1, None, ["staff"]], "realm"])
def test_odd_groups_are_none(groups: object) -> None:
    found = identity_of(claims(groups=groups), RULES, NOW).groups
    assert found == (("realm",) if groups == "realm" else ())


def test_the_number_of_groups_is_bounded() -> None:
    assert len(identity_of(claims(groups=["g"] * 5000), RULES, NOW).groups) == MOST_GROUPS


@pytest.mark.parametrize(("value", "taken"), [(True, True), (1, False), ("true", False), (..., False)])
def test_required_claims_are_equal_in_type_too(value: object, taken: bool) -> None:
    rules = RULES._replace(required={"email_verified": True})
    if taken:
        assert identity_of(claims(email_verified=value), rules, NOW)
    else:
        with pytest.raises(ClaimRefused, match="email_verified"):
            identity_of(claims(email_verified=value), rules, NOW)
