"""The used, held and left parts of limits: a ledger that cannot be read first."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from kit.calls import make_call, make_settings

from flask_gateway.app import build
from flask_gateway.app.build import Gateway
from flask_gateway.app.limit_usage import spend_of, usage_of_caller, usage_of_subject
from flask_gateway.guards.account_changes import AccountView
from flask_gateway.model.calendar_windows import Calendar, Window
from flask_gateway.model.call import Caller
from flask_gateway.model.limits import Budget, Limits, OwnerLimits, Owners
from flask_gateway.model.spend import BooksUnknown
from flask_gateway.state.memory import MemoryStore

DAY = 1795651200  # 2026-11-26, 00:00 UTC
DOLLAR = 10**9
BUDGETS = Limits(budgets=(Budget(2 * DOLLAR, Window.DAY), Budget(DOLLAR, Window.TOTAL)))


@pytest.fixture
def gateway(store: MemoryStore) -> Gateway:
    return build.build(make_settings(), store)


class Accounts:
    """Accounts with one view for all; ``None``: the ledger cannot be read."""

    def __init__(self, view: AccountView | None) -> None:
        self.known, self.calendar, self.clock = view, Calendar(), lambda: DAY + 1.0

    def view(self, subject: str) -> AccountView:
        if self.known is None:
            raise BooksUnknown("away")
        return self.known


def with_accounts(view: Any) -> Any:
    return SimpleNamespace(accounting=SimpleNamespace(accounts=Accounts(view)))


def test_money_that_cannot_be_known_is_none_and_not_zero(gateway: Gateway) -> None:
    away = with_accounts(None)
    assert spend_of(away, "key:a") is None
    assert spend_of(gateway, "key:a") is None  # no ledger is kept
    for entry in usage_of_subject(away, "key:a", BUDGETS)["budgets"]:
        assert (entry["used"], entry["held"], entry["left"]) == (None, None, None)
        assert entry["limit"]


def test_left_is_never_below_zero_and_a_total_has_no_end() -> None:
    view = SimpleNamespace(used=(DOLLAR, 0, 0, 3 * DOLLAR), held=DOLLAR // 2)
    day, total = usage_of_subject(with_accounts(view), "key:a", BUDGETS)["budgets"]
    assert (day["used"], day["held"], day["left"]) == ("1.000000000", "0.500000000", "0.500000000")
    assert day["resets_at"] == DAY + 86400
    assert (total["left"], total["resets_at"]) == ("0.000000000", None)
    assert spend_of(with_accounts(view), "key:a") == {
        "day": "1.000000000",
        "week": "0.000000000",
        "month": "0.000000000",
        "total": "3.000000000",
    }


def test_a_caller_without_limits_has_no_entry(gateway: Gateway) -> None:
    assert usage_of_caller(gateway, Caller("a", 0), money=True) == []


def test_each_subject_of_a_caller_has_an_entry_the_key_first(gateway: Gateway) -> None:
    team = OwnerLimits(own=Limits(requests=9, tokens=100))
    owners = Owners("a", OwnerLimits(own=BUDGETS), "t", team, make_settings().limits)
    caller = Caller("a", 5, max_concurrent=2, owners=owners)
    gateway.limiter.admit(make_call(caller=caller))
    own, shared = usage_of_caller(gateway, caller, money=False)
    assert (own["subject"], shared["subject"]) == ("key:a", "team:t")
    assert (own["requests"]["limit"], own["requests"]["used"], own["requests"]["left"]) == (5, 1, 4)
    assert own["concurrent"] == {"limit": 2, "used": 0, "left": 2}
    assert "budgets" not in own
    assert shared["tokens"] == {"limit": 100, "used": 0, "left": 100, "reset_seconds": 0.0}
