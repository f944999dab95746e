"""Limits the money of each subject in calendar windows. A call that finds too little left is refused.

A call holds what it may cost in the account of each subject that has a budget, and settles what it did cost.
A strict budget holds the ceiling of the cost, and refuses where what was used cannot be known or kept.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from ..ledger.lines import Alerted
from ..model.call import Call, Outcome
from ..model.errors import BudgetUnknown, BudgetUsedUp, GatewayError, LedgerUnavailable
from ..model.limits import Budget, Estimate, Limits, words_of
from ..model.money import dollars
from ..model.protocols import NO_PERMIT, Permit
from ..model.spend import Applied, BooksUnknown, Hold, Leg
from ..state.together import StoreUpdate
from .account_changes import NO_LIMIT, PerWindow, Settlement
from .accounts import Accounts, Allotted
from .budget_headers import WINDOWS, BudgetHeaders, kind_of
from .token_estimate import Estimates

log = logging.getLogger(__name__)

#: How soon a call may come again that a strict budget refused for lack of the ledger, seconds.
RETRY_UNKNOWN = 5.0
_LATER = "Try again in a moment; the gateway's operator finds the cause in the log."
#: Limits whose plans are remembered.
_MOST_PLANS = 4096


class CallCosts(Protocol):
    """Computes the costs of calls, before and after."""

    def expected(self, call: Call, estimate: Estimate) -> int:
        """Return the expected cost of a call, nano-dollars.

        :raises ModelNotPriced: a price is unknown.
        """
        ...

    def most(self, call: Call, estimate: Estimate) -> int:
        """Return the highest cost of a call, nano-dollars.

        :raises ModelNotPriced: a price is unknown.
        """
        ...

    def legs(self, call: Call, outcome: Outcome) -> tuple[Leg, ...]:
        """Return the cost of each upstream's part of an answer."""
        ...

    @property
    def keeps(self) -> bool:
        """Whether costs can be written down now."""
        ...


class BudgetFigures(Protocol):
    """Counts what happens to budgets (``telemetry/metrics.py``)."""

    def budget_alert(self, kind: str, window: str, share: float) -> None: ...

    def budget_overshoot(self, nano: int) -> None: ...


class _Watched(NamedTuple):
    """A budget, by the index of its window, with the amounts at which it alerts and the share of each."""

    window: int
    budget: Budget
    alerts: tuple[tuple[int, float], ...]


class _Plan(NamedTuple):
    """The parts of limits that a guard needs, worked out once.

    :param amounts: of each window. :param strict: whether a budget is.
    """

    limits: Limits
    amounts: PerWindow
    strict: bool
    watched: tuple[_Watched, ...]


class _Tightest(NamedTuple):
    """The budget with the least left."""

    subject: str
    limit: int
    window: int
    left: int
    allotted: Allotted | None


def _left(tightest: _Tightest) -> int:
    return tightest.left


class BudgetGuard:
    """Holds and settles the money of calls (``model.protocols.Guard``). Shared by all threads.

    :param shares: of a budget at which a line is logged, above 0, at most 1.
    """

    def __init__(
        self,
        accounts: Accounts,
        estimates: Estimates,
        costs: CallCosts,
        figures: BudgetFigures,
        *,
        shares: Sequence[float],
        tell: bool,
    ) -> None:
        #: Writes an alert down.
        self.note: Callable[[Alerted], object] = lambda alert: None
        self.accounts = accounts
        self._estimates = estimates
        self._costs = costs
        self._figures = figures
        self._shares = tuple(shares)
        self._headers = BudgetHeaders(accounts.calendar, tell=tell)
        #: By the id of the limits, which stay alive meanwhile. Most calls have the limits of others.
        self._plans: dict[int, _Plan] = {}

    def admit(self, call: Call) -> Permit:
        """Hold what the call may cost.

        :raises BudgetUsedUp: a budget has too little left. Nothing is held.
        :raises ModelNotPriced: what it may cost is not known.
        :raises BudgetUnknown: a budget is strict, and what was used is not known or cannot be kept.
        """
        limits = call.limits
        if limits is None:
            return NO_PERMIT
        budgeted = (limits.sorted or limits.by_kind()).budgets
        if not budgeted:
            return NO_PERMIT
        estimate = limits.estimate or self._estimates.of(call, limits)
        expected = self._costs.expected(call, estimate)
        planned = [(name, self._plan(own)) for name, own in budgeted]
        most = self._most(call, estimate, expected, planned)
        if not most:  # a call that costs nothing asks no account
            return NO_PERMIT
        permit = BudgetPermit(self, call)
        try:
            held = [
                self._hold(permit, name, plan, most if plan.strict else expected) for name, plan in planned
            ]
        except BaseException:
            permit.cancel()
            raise
        if call.spend is not None:
            call.spend.holds = tuple([hold for hold, _ in permit.holds])
        if self._headers.tell:
            permit.headers = self._told(held[0] if len(held) == 1 else min(held, key=_left))
        return permit

    def steps(self, call: Call) -> list[StoreUpdate]:
        """The changes of an admission (``guards.together``)."""
        limits = call.limits
        budgeted = () if limits is None else (limits.sorted or limits.by_kind()).budgets
        if limits is None or not budgeted:
            return []
        try:
            estimate = limits.estimate or self._estimates.of(call, limits)
            expected = self._costs.expected(call, estimate)
            planned = [(name, self._plan(own)) for name, own in budgeted]
            most = self._most(call, estimate, expected, planned)
        except GatewayError:
            return []  # :meth:`admit` raises it, after the guards before it
        reserve = self.accounts.step if most else _no_steps
        return [
            step
            for name, plan in planned
            for step in reserve(name, plan.amounts, most if plan.strict else expected, strict=plan.strict)
        ]

    def _most(
        self, call: Call, estimate: Estimate, expected: int, planned: Sequence[tuple[str, _Plan]]
    ) -> int:
        """The amount that a strict budget holds, or what any other does where none is strict."""
        for _, plan in planned:
            if plan.strict:
                return max(expected, self._costs.most(call, estimate))
        return expected

    def _told(self, tightest: _Tightest) -> Mapping[str, str]:
        """The headers of a budget. The calls of an allotment share theirs."""
        subject, limit, window, left, allotted = tightest
        if allotted is not None and allotted.headers:
            return allotted.headers
        headers = self._headers.of(subject, limit, window, left, self._start(window))
        if allotted is not None:
            allotted.headers = headers
        return headers

    def _plan(self, limits: Limits) -> _Plan:
        plan = self._plans.get(id(limits))
        if plan is None or plan.limits is not limits:
            if len(self._plans) >= _MOST_PLANS:
                self._plans.clear()
            plan = self._plans[id(limits)] = _plan_of(limits, self._shares)
        return plan

    def _hold(self, permit: BudgetPermit, name: str, plan: _Plan, amount: int) -> _Tightest:
        _, amounts, strict, _ = plan
        if strict and not self._costs.keeps:
            raise LedgerUnavailable(
                f"The budget is strict, and what calls cost cannot be written down now. {_LATER}",
                retry_after=RETRY_UNKNOWN,
            )
        try:
            reservation, hold, allotted = self.accounts.reserve(name, amounts, amount, strict=strict)
        except BooksUnknown:
            raise BudgetUnknown(
                f"The budget is strict, and what was used of it cannot be known now. {_LATER}",
                retry_after=RETRY_UNKNOWN,
            ) from None
        window, left = reservation.window, reservation.left
        if hold is None:
            raise self._refusal(name, amounts, window, left, amount)
        permit.holds.append((hold, plan))
        return _Tightest(name, amounts[window], window, left, allotted)

    def _refusal(
        self, subject: str, amounts: PerWindow, window: int, left: int, amount: int
    ) -> BudgetUsedUp | BudgetUnknown:
        if window < 0:
            message = f"Too many processes use this budget at once. {_LATER}"
            return BudgetUnknown(message, retry_after=RETRY_UNKNOWN)
        start = self._start(window)
        reset = self._headers.reset(window, start)
        which = "in total" if not reset else f"for the {WINDOWS[window]}"
        told = (
            f" of {_short(amounts[window])} USD, {_short(left)} USD are left, "
            f"and this call may cost {_short(amount)} USD"
            if self._headers.tell
            else " has no room for this call"
        )
        again = f"It begins again at {reset}." if reset else "The operator may raise it."
        error = BudgetUsedUp(f"{words_of(subject)} has a budget {which}:{told}. {again}")
        error.headers["x-should-retry"] = "false"
        error.headers.update(self._headers.of(subject, amounts[window], window, left, start))
        return error

    def _start(self, window: int) -> int:
        return self.accounts.calendar.starts(self.accounts.clock())[window]

    def cost(self, call: Call, outcome: Outcome) -> int:
        """The cost of a call, nano-dollars."""
        cost = 0
        for leg in self._costs.legs(call, outcome):
            # A part whose price turned out to be unknown counts as in the ledger: with no amount.
            cost += leg.cost or 0
        return cost

    def settle(self, call: Call, holds: Sequence[tuple[Hold, _Plan]], outcome: Outcome) -> None:
        """Settle what a call cost in each account that holds an amount for it."""
        limits, cost = call.limits, self.cost(call, outcome)
        if outcome.usage is not None and limits is not None and not limits.learned:
            self._estimates.learn(call, limits, outcome.usage)
        applied: list[Applied] = []
        deferred: list[Hold] = []
        latest, spend = 0, call.spend
        defers = spend is not None and self._costs.keeps
        for hold, plan in holds:
            if defers and self.accounts.defer(hold):
                deferred.append(hold)
                continue
            mark, windows = self.accounts.settle(hold, cost)
            applied.append(Applied(hold.subject, mark))
            if windows:
                latest = max(latest, windows[0][0])
                self._watch(hold.subject, plan, windows)
        if spend is not None:
            spend.applied = tuple(applied)
            spend.deferred = tuple(deferred)
            if applied:
                # In the same window as in the accounts, also when the clock was set back meanwhile.
                spend.at = max(self.accounts.clock(), latest)

    def watch(self, subject: str, limits: Limits, settlement: Settlement) -> None:
        """Watch a settlement that the bookkeeper made for a call whose cost came late."""
        if limits.budgets and settlement.windows:
            self._watch(subject, self._plan(limits), settlement.windows)

    def _watch(self, subject: str, plan: _Plan, windows: tuple[tuple[int, int, int], ...]) -> None:
        """Alert at the one settlement that crosses a share of a budget."""
        for window, budget, alerts in plan.watched:
            start, before, after = windows[window]
            if after <= before:
                continue
            for at, share in alerts:
                if before < at <= after:
                    self._alert(subject, budget, start, share, after)
            if after > budget.amount:
                self._figures.budget_overshoot(after - max(before, budget.amount))

    def _alert(self, subject: str, budget: Budget, start: int, share: float, used: int) -> None:
        amount, window = budget.amount, budget.window.value
        log.warning(
            "%s has used %g %% of its budget (%s): %s of %s USD",
            subject,
            share * 100,
            window,
            dollars(used),
            dollars(amount),
        )
        self._figures.budget_alert(kind_of(subject), window, share)
        at = self.accounts.clock()
        self.note(
            Alerted(at=at, subject=subject, window=window, start=start, share=share, used=used, amount=amount)
        )


class BudgetPermit:
    """The amounts that a call holds. Settling it twice settles once."""

    __slots__ = ("_budgets", "_call", "headers", "holds")

    def __init__(self, budgets: BudgetGuard, call: Call) -> None:
        self._budgets = budgets
        self._call = call
        self.holds: list[tuple[Hold, _Plan]] = []
        self.headers: Mapping[str, str] = {}

    def settle_steps(self, outcome: Outcome) -> list[StoreUpdate]:
        """The changes that :meth:`settle` makes. The bookkeeper makes none for it in a store of several
        machines."""
        accounts = self._budgets.accounts
        cost = self._budgets.cost(self._call, outcome) if self.holds else 0
        return [accounts.settle_step(hold, cost) for hold, _ in self.holds]

    def settle(self, outcome: Outcome) -> None:
        holds, self.holds = self.holds, []
        if holds:
            self._budgets.settle(self._call, holds, outcome)

    def cancel(self) -> None:
        holds, self.holds = self.holds, []
        for hold, _ in reversed(holds):
            self._budgets.accounts.settle(hold, 0)
        if holds and self._call.spend is not None:
            self._call.spend.holds = ()


def _no_steps(subject: str, limits: PerWindow, amount: int, *, strict: bool) -> list[StoreUpdate]:
    return []


def _plan_of(limits: Limits, shares: tuple[float, ...]) -> _Plan:
    """:param shares: of a budget at which it alerts."""
    amounts, watched = [NO_LIMIT] * len(WINDOWS), []
    for budget in limits.budgets:
        window = WINDOWS.index(budget.window)
        amounts[window] = budget.amount
        watched.append(
            _Watched(window, budget, tuple((round(budget.amount * share), share) for share in shares))
        )
    day, week, month, total = amounts
    return _Plan(limits, (day, week, month, total), limits.strict, tuple(watched))


def _short(nano: int) -> str:
    """An amount with at least two decimals."""
    text = dollars(nano).rstrip("0")
    whole, _, rest = text.partition(".")
    return f"{whole}.{rest:0<2}"
