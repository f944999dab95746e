"""The subjects of a call: only those with limits, in the order in which they are asked."""

from __future__ import annotations

from flask_gateway.model.calendar_windows import Window
from flask_gateway.model.limits import NO_OWNER_LIMITS, Budget, Limits, OwnerLimits, Owners

TOKENS = Limits(tokens=1000)
DAILY = Limits(budgets=(Budget(10**9, Window.DAY),))


def owners(
    key: OwnerLimits = NO_OWNER_LIMITS,
    team: OwnerLimits = NO_OWNER_LIMITS,
    general: OwnerLimits = NO_OWNER_LIMITS,
) -> Owners:
    return Owners("web", key, "search", team, general)


def test_a_call_without_limits_has_no_subjects() -> None:
    assert list(owners().subjects("m", "alice")) == []


def test_all_subjects_in_their_order() -> None:
    policy = OwnerLimits(own=TOKENS, models={"m": DAILY}, users=DAILY)
    found = owners(policy, policy, OwnerLimits(own=DAILY, models={"m": TOKENS})).subjects("m", "alice")
    assert [subject for subject, _ in found] == [
        "key:web", "key:web/model:m", "team:search", "team:search/model:m", "user:search/alice",
        "model:m", "all",
    ]  # fmt: skip
    assert [subject for subject, _ in owners(policy).subjects("other", "")] == ["key:web"]


def test_an_end_user_has_limits_by_name_or_the_default() -> None:
    policy = OwnerLimits(users=TOKENS, named_users={"bob": DAILY})
    assert dict(owners(policy).subjects("m", "alice")) == {"user:search/alice": TOKENS}
    assert dict(owners(policy).subjects("m", "bob")) == {"user:search/bob": DAILY}
    team = OwnerLimits(users=DAILY)
    assert dict(owners(policy, team).subjects("m", "alice")) == {"user:search/alice": DAILY}


def test_end_users_are_told_apart_where_they_have_limits_or_are_required() -> None:
    assert not owners().names_users
    assert owners(OwnerLimits(users=Limits())).names_users
    assert owners(team=OwnerLimits(require_user=True)).needs_user
    assert owners(team=OwnerLimits(require_user=True)).names_users


def test_a_strict_budget_makes_the_limits_strict() -> None:
    assert not DAILY.strict
    assert Limits(budgets=(Budget(1, Window.DAY), Budget(1, Window.TOTAL, strict=True))).strict
    assert not Limits()
