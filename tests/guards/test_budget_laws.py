"""Laws of budgets over several subjects and workers: a refusal changes nothing, and an alert comes once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.calls import make_call
from kit.examples import examples
from kit.stores import HandClock

from flask_gateway.guards.account_changes import PerWindow
from flask_gateway.guards.accounts import Accounts
from flask_gateway.guards.budgets import BudgetGuard
from flask_gateway.guards.token_estimate import Estimates
from flask_gateway.ledger.lines import Alerted
from flask_gateway.model.calendar_windows import Calendar, Window
from flask_gateway.model.call import Call, Outcome
from flask_gateway.model.errors import BudgetUsedUp, Verdict
from flask_gateway.model.limits import Budget, CallLimits, Estimate, Limits, SubjectLimits
from flask_gateway.model.protocols import Permit
from flask_gateway.model.spend import Leg
from flask_gateway.model.units import Units
from flask_gateway.state.memory import MemoryStore

#: 2026-11-26, 00:00 UTC.
DAY = 1795651200
SUBJECTS = ("key:web", "team:search", "all")
SHARES = (0.5, 0.8, 1.0)


class Costs:
    """Calls cost what the test says, and hold at most as much."""

    keeps = True
    held = cost = 0

    def expected(self, call: Call, estimate: Estimate) -> int:
        return self.held

    def most(self, call: Call, estimate: Estimate) -> int:
        return self.held

    def legs(self, call: Call, outcome: Outcome) -> tuple[Leg, ...]:
        return (Leg(upstream="up", model="m", units=Units(), cost=self.cost),)


class NoLedger:
    def used(self, subject: str, starts: PerWindow) -> PerWindow:
        return 0, 0, 0, 0


class Figures:
    def budget_alert(self, kind: str, window: str, share: float) -> None:
        """Count nothing: the alerts themselves are counted."""

    def budget_overshoot(self, nano: int) -> None:
        """Count nothing."""


class Workers:
    """Three workers with one store."""

    def __init__(self, amounts: Sequence[int]) -> None:
        self.clock, self.now, self.costs = HandClock(), DAY + 1000.0, Costs()
        self.store = MemoryStore(self.clock)
        self.alerts: Counter[tuple[str, int, float]] = Counter()
        self.guards = [self._guard() for _ in range(3)]
        self.limits = CallLimits(
            tuple(
                SubjectLimits(name, Limits(budgets=(Budget(amount, Window.DAY),)))
                for name, amount in zip(SUBJECTS, amounts, strict=True)
            )
        )

    def _guard(self) -> BudgetGuard:
        accounts = Accounts(self.store, NoLedger(), Calendar(), lambda: self.now, patience=0.0)
        accounts.now_current()
        accounts._keeper.start = lambda: None  # type: ignore[method-assign]
        guard = BudgetGuard(accounts, Estimates(), self.costs, Figures(), shares=SHARES, tell=True)
        guard.note = self._noted
        return guard

    def _noted(self, alert: Alerted) -> None:
        self.alerts[alert.subject, alert.start, alert.share] += 1

    def admit(self, worker: int, held: int) -> Permit:
        self.costs.held = held
        return self.guards[worker].admit(msgspec.structs.replace(make_call(), limits=self.limits))

    def settle(self, permit: Permit, cost: int) -> None:
        self.costs.cost = cost
        permit.settle(Outcome(Verdict.SUCCESS))

    def amounts(self) -> dict[str, tuple[int, ...]]:
        """The amounts used and held in each account, without the times of leases."""
        return {
            key: (*value[:13], *(value[at] for at in range(13, len(value)) if at % 4 in (1, 3) and value[at]))
            for key, value in self.store.scan("money:")
        }


steps = st.lists(
    st.tuples(
        st.sampled_from(["admit", "admit", "settle", "cancel", "day"]), st.integers(0, 2), st.integers(1, 400)
    ),
    max_size=40,
)


@settings(max_examples=examples(20, 200), deadline=None)
@given(steps, st.tuples(*[st.integers(100, 1200)] * 3))
def test_a_refusal_changes_nothing_and_each_share_alerts_once(
    run: list[tuple[str, int, int]], amounts: tuple[int, int, int]
) -> None:
    """Laws 3 and 11. A settlement may cost more than was held."""
    workers, open_calls = Workers(amounts), list[tuple[Permit, int]]()
    spent: Counter[int] = Counter()
    for what, worker, amount in run:
        if what == "admit":
            before = workers.amounts()
            try:
                open_calls.append((workers.admit(worker, amount), amount))
            except BudgetUsedUp:
                known = {key: value for key, value in workers.amounts().items() if key in before}
                assert known == before
        elif what == "day":
            workers.now += 86400
            for name in SUBJECTS:
                workers.guards[0].accounts.post(name, 0)
        elif open_calls:
            permit, held = open_calls.pop(0)
            if what == "cancel":
                permit.cancel()
            else:
                workers.settle(permit, held + worker * 50)
                spent[int(workers.now) // 86400 * 86400] += held + worker * 50
    expected = Counter(
        {
            (name, start, share): 1
            for name, limit in zip(SUBJECTS, amounts, strict=True)
            for start, used in spent.items()
            for share in SHARES
            if used >= round(limit * share)
        }
    )
    assert workers.alerts == expected
