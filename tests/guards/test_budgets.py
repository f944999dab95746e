"""Budgets: what a call holds, how it is settled, told and refused, and that each alert comes once."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from kit.calls import make_call
from kit.priced_costs import DAY, Figures, Ledger, PricedCosts

from flask_gateway.guards.accounts import Accounts
from flask_gateway.guards.budgets import BudgetGuard
from flask_gateway.guards.openings import account_key
from flask_gateway.guards.token_estimate import Estimates
from flask_gateway.ledger.costing import Costing
from flask_gateway.model.calendar_windows import Calendar, Window
from flask_gateway.model.call import Call, Outcome, Usage
from flask_gateway.model.errors import BudgetUnknown, BudgetUsedUp, LedgerUnavailable, ModelNotPriced, Verdict
from flask_gateway.model.limits import Budget, CallLimits, Limits, SubjectLimits
from flask_gateway.model.protocols import Permit
from flask_gateway.model.spend import Applied, Spend
from flask_gateway.pricing.rates import ModelPrice, Period, Rates
from flask_gateway.pricing.table import Prices
from flask_gateway.state.memory import MemoryStore


class Gate:
    """The guard with everything around it."""

    def __init__(self, store: MemoryStore, *upstreams: str, base: int | None = 0, tell: bool = True) -> None:
        self.store, self.figures, self.money = store, Figures(), PricedCosts(*(upstreams or ("up",)))
        self.now = DAY + 1000.0
        self.ledger, self.estimates = Ledger(base), Estimates()
        accounts = Accounts(store, self.ledger, Calendar(), lambda: self.now, patience=0.0)
        accounts.now_current()
        accounts._keeper.start = lambda: None  # type: ignore[method-assign]
        self.guard = BudgetGuard(
            accounts, self.estimates, self.money, self.figures, shares=(0.8, 1.0), tell=tell
        )

    def admit(self, *limits: SubjectLimits, **fields: Any) -> tuple[Permit, Call]:
        call = r(limits or (day(10_000_000),), **fields)
        return self.guard.admit(call), call

    def account(self, subject: str = "key:web") -> tuple[int, ...]:
        """Return the costs of today, and the amount that is held."""
        value = self.store.read(account_key(subject)) or (0,) * 13
        return value[3], sum(value[15::4])


@pytest.fixture
def gate(store: MemoryStore) -> Gate:
    return Gate(store)


def day(amount: int, subject: str = "key:web", *, strict: bool = False) -> SubjectLimits:
    return SubjectLimits(subject, Limits(budgets=(Budget(amount, Window.DAY, strict),)))


def r(limits: Sequence[SubjectLimits], **fields: Any) -> Call:
    """The design's request R: 1000 tokens of prompt, and 500 of an answer."""
    empty = len(msgspec.json.encode([{"role": "user", "content": ""}]))
    messages = [{"role": "user", "content": "x" * (4000 - empty)}]
    call = make_call(messages=messages, **{"max_tokens": 500, **fields})
    return msgspec.structs.replace(call, limits=CallLimits(tuple(limits)), spend=Spend())


def used(prompt: int = 990, answer: int = 200, upstream: str = "up") -> Outcome:
    usage = Usage(prompt, answer)
    return Outcome(Verdict.SUCCESS, usage, upstream=upstream, model="m", started_ns=DAY * 10**9)


def test_six_at_once_under_a_budget_for_five(gate: Gate) -> None:
    """Cases 1 and 2 of the design."""
    admitted = [gate.admit() for _ in range(5)]
    left = [permit.headers["x-gateway-budget-remaining"] for permit, _ in admitted]
    assert left == ["0.008000000", "0.006000000", "0.004000000", "0.002000000", "0.000000000"]
    with pytest.raises(BudgetUsedUp) as caught:
        gate.admit()
    assert caught.value.headers["x-gateway-budget-remaining"] == "0.000000000"
    for permit, _ in admitted:
        permit.settle(used())
        permit.settle(used())
        permit.cancel()
    assert gate.account() == (6_950_000, 0)
    seventh, _ = gate.admit()
    assert seventh.headers["x-gateway-budget-remaining"] == "0.001050000"
    with pytest.raises(BudgetUsedUp) as caught:
        gate.admit()
    assert caught.value.headers["x-gateway-budget-remaining"] == "0.001050000"


def test_the_refusal_says_which_budget_how_much_and_until_when(gate: Gate) -> None:
    with pytest.raises(BudgetUsedUp) as caught:
        gate.admit(day(1_000_000, "team:search"))
    error = caught.value
    assert (error.status, error.code, error.retry_after) == (429, "insufficient_quota", None)
    assert error.message == (
        "The team 'search' has a budget for the day: of 0.001 USD, 0.001 USD are left, "
        "and this call may cost 0.002 USD. It begins again at 2026-11-27T00:00:00Z."
    )
    assert error.headers == {
        "x-should-retry": "false",
        "x-gateway-budget": "team/day",
        "x-gateway-budget-limit": "0.001000000",
        "x-gateway-budget-remaining": "0.001000000",
        "x-gateway-budget-reset": "2026-11-27T00:00:00Z",
    }


def test_amounts_can_be_hidden_from_callers(store: MemoryStore) -> None:
    gate = Gate(store, tell=False)
    permit, _ = gate.admit()
    assert permit.headers == {}
    with pytest.raises(BudgetUsedUp) as caught:
        gate.admit(day(1))
    assert "USD" not in caught.value.message
    assert "x-gateway-budget-remaining" not in caught.value.headers


def test_a_strict_budget_holds_the_ceiling(gate: Gate) -> None:
    gate.admit(day(10_000_000, strict=True))
    assert gate.account() == (0, 3_000_000)


def test_without_a_limit_the_guess_is_held(gate: Gate) -> None:
    """Case 4 of the design: the guard learns how long answers are."""
    held = []
    for answer in (4000, 100, 100):
        permit, _ = gate.admit(day(10**9), max_tokens=None)
        held.append(gate.account()[1])
        permit.settle(used(1000, answer))
    assert held == [3_048_000, 9_000_000, 8_500_000]


def test_a_new_end_user_is_let_in_once(gate: Gate) -> None:
    """Case 5 of the design."""
    admitted, threads = [], []

    def work() -> None:
        with contextlib.suppress(BudgetUsedUp):
            admitted.append(gate.admit(day(2_000_000, "user:search/eve")))

    for _ in range(8):
        threads.append(threading.Thread(target=work))
        threads[-1].start()
    for thread in threads:
        thread.join()
    assert len(admitted) == 1


def test_a_refusal_of_the_team_leaves_the_keys_account_as_it_was(gate: Gate) -> None:
    """Case 6 of the design, and law 3."""
    both = (day(10_000_000), day(3_000_000, "team:search"))
    permit, _ = gate.admit(*both)
    before = dict(gate.store.scan("money:"))
    with pytest.raises(BudgetUsedUp, match="The team 'search'") as caught:
        gate.admit(*both)
    assert caught.value.headers["x-gateway-budget"] == "team/day"
    assert dict(gate.store.scan("money:")) == before
    assert permit.headers["x-gateway-budget"] == "team/day"  # of the budget with the least left


def test_each_share_alerts_once_and_the_overshoot_is_counted(
    store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Case 7 of the design, and law 11."""
    gate = Gate(store, base=7_900_000)
    calls = [gate.admit(day(20_000_000))[0] for _ in range(3)]
    less = gate.guard._plan(day(10_000_000).limits)
    calls[0].holds = [(hold, less) for hold, _ in calls[0].holds]  # type: ignore[attr-defined]
    calls[1].holds = [(hold, less) for hold, _ in calls[1].holds]  # type: ignore[attr-defined]
    with caplog.at_level(logging.WARNING):
        calls[0].settle(used())
        assert gate.figures.alerts == [("key", "day", 0.8)]
        calls[1].settle(used())
    assert gate.figures.alerts == [("key", "day", 0.8), ("key", "day", 1.0)]
    assert gate.figures.overshoot == 680_000
    assert "key:web has used 80 % of its budget (day): 0.009290000 of 0.010000000 USD" in caplog.text


def test_a_limit_is_changed_with_the_next_call_and_a_credit_gives_room(gate: Gate) -> None:
    """Case 8 of the design."""
    gate.guard.accounts.post("key:web", 0)
    gate.admit(day(20_000_000))[0].settle(used(1290, 4000))  # 9 290 000
    with pytest.raises(BudgetUsedUp) as caught:
        gate.admit(day(9_000_000))
    assert caught.value.headers["x-gateway-budget-remaining"] == "0.000000000"
    gate.admit(day(20_000_000))[0].cancel()
    gate.guard.accounts.post("key:web", -5_000_000)
    assert gate.account() == (4_290_000, 0)
    gate.admit(day(9_000_000))


def test_a_free_model_asks_no_account(store: MemoryStore) -> None:
    """Case 9 of the design."""
    gate = Gate(store, "own")
    permit, call = gate.admit(day(1))
    permit.settle(used(upstream="own"))
    assert list(store.scan("money:")) == []
    assert call.spend is not None
    assert call.spend.holds == ()


def test_the_dearest_candidate_is_held_and_an_unpriced_one_refused(store: MemoryStore) -> None:
    gate = Gate(store, "up", "dear")
    gate.admit()
    assert gate.account() == (0, 4_000_000)
    with pytest.raises(ModelNotPriced) as caught:
        Gate(store, "up", "new").admit()
    assert (caught.value.status, caught.value.code) == (403, "model_not_priced")
    assert '[prices."new/m"]' in caught.value.message


def test_calls_without_a_budget_may_call_what_has_no_price(store: MemoryStore) -> None:
    gate = Gate(store, "new")
    for limits in ((), (SubjectLimits("key:web", Limits(tokens=5)),)):
        assert gate.guard.admit(r(limits)).headers == {}
    assert list(store.scan("money:")) == []


def test_the_ledger_learns_what_is_held_and_which_account_has_the_cost(gate: Gate) -> None:
    permit, call = gate.admit(day(10_000_000), day(10_000_000, "team:search"))
    spend = call.spend
    assert spend is not None
    assert [(hold.subject, hold.amount) for hold in spend.holds] == [
        ("key:web", 2_000_000),
        ("team:search", 2_000_000),
    ]
    permit.settle(used())
    marks = {subject: gate.guard.accounts.mark(subject) for subject in ("key:web", "team:search")}
    assert spend.applied == tuple(Applied(subject, mark) for subject, mark in marks.items())
    assert all(marks.values())
    assert (spend.cost, spend.at) == (1_390_000, gate.now)


def test_a_cancelled_call_holds_nothing(gate: Gate) -> None:
    permit, call = gate.admit()
    permit.cancel()
    assert gate.account() == (0, 0)
    assert call.spend is not None
    assert call.spend.holds == ()


def test_money_counts_in_the_window_of_its_settlement_in_account_and_ledger(gate: Gate) -> None:
    """Cases 15 and 16 of the design."""
    (first, one), (second, two) = gate.admit(), gate.admit()
    gate.now = DAY + 86_401.0
    first.settle(used())
    gate.now = DAY + 86_396.0  # the clock is set back by 5 s
    second.settle(used(0, 500))
    assert gate.account() == (2_390_000, 0)
    assert one.spend is not None
    assert two.spend is not None
    assert (one.spend.at, two.spend.at) == (DAY + 86_401.0, DAY + 86_400)


def test_the_old_price_counts_on_the_day_on_which_the_call_ends(gate: Gate) -> None:
    """Case 21 of the design: half the price from midnight on; asked 0.1 s before it, over 3 s after it."""
    halved = ModelPrice((Period(Rates(input=10**6)), Period(Rates(input=500_000), begins=DAY)))
    gate.money.costing = Costing(Prices({("up", "m"): halved}, []), {})
    gate.now = DAY - 0.1
    permit, call = gate.admit()
    gate.now = DAY + 3.0
    permit.settle(msgspec.structs.replace(used(1000, 0), started_ns=int((DAY - 0.1) * 10**9)))
    assert gate.account() == (1_000_000, 0)
    assert call.spend is not None
    assert (call.spend.cost, call.spend.at) == (1_000_000, DAY + 3.0)
    value = gate.store.read(account_key("key:web"))
    assert value is not None
    assert value[1] == DAY  # the start of the day in which it counts


def test_without_the_ledger_a_strict_budget_refuses_and_another_goes_on(store: MemoryStore) -> None:
    gate = Gate(store, base=None)
    with pytest.raises(BudgetUnknown) as caught:
        gate.admit(day(10_000_000, strict=True))
    assert (caught.value.status, caught.value.code, caught.value.retry_after) == (503, "budget_unknown", 5.0)
    gate.admit(day(10_000_000))
    gate.ledger.now = 0
    gate.money.keeps = False
    gate.admit(day(10_000_000))
    with pytest.raises(LedgerUnavailable):
        gate.admit(day(10_000_000, strict=True))


def test_a_failed_call_gives_back_what_it_held(gate: Gate) -> None:
    permit, call = gate.admit()
    permit.settle(Outcome(Verdict.FAILURE))
    assert gate.account() == (0, 0)
    assert call.spend is not None
    assert len(call.spend.applied) == 1


def test_budgets_of_all_windows_count_and_the_least_left_is_told(gate: Gate) -> None:
    limits = Limits(budgets=(Budget(50_000_000, Window.DAY), Budget(3_000_000, Window.TOTAL)))
    permit, _ = gate.admit(SubjectLimits("key:web", limits))
    assert permit.headers == {
        "x-gateway-budget": "key/total",
        "x-gateway-budget-limit": "0.003000000",
        "x-gateway-budget-remaining": "0.001000000",
    }
    with pytest.raises(BudgetUsedUp, match=r"in total: .*The operator may raise it"):
        gate.admit(SubjectLimits("key:web", limits))
