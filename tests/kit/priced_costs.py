"""Prices, a ledger and figures for budgets without a gateway."""

from __future__ import annotations

from flask_gateway.guards.account_changes import PerWindow
from flask_gateway.ledger.costing import Costing
from flask_gateway.ledger.quotes import Quotes
from flask_gateway.model.call import Call, Outcome
from flask_gateway.model.limits import Estimate
from flask_gateway.model.spend import BooksUnknown, Leg
from flask_gateway.pricing.rates import FREE, ModelPrice, Period, Rates
from flask_gateway.pricing.table import Prices

DAY = 1795651200  # 2026-11-26, 00:00 UTC
#: 1 and 2 US dollars per million tokens: 1000 and 2000 nano-dollars a token.
P = ModelPrice((Period(Rates(input=1_000_000, output=2_000_000)),))
TWICE = ModelPrice((Period(Rates(input=2_000_000, output=4_000_000)),))
PRICES = {("up", "m"): P, ("dear", "m"): TWICE, ("own", "m"): FREE}


class Ledger:
    def __init__(self, used: int | None = 0) -> None:
        self.now = used

    def used(self, subject: str, starts: PerWindow) -> PerWindow:
        if self.now is None:
            raise BooksUnknown("away")
        return self.now, self.now, self.now, self.now


class PricedCosts:
    """The prices above, of the given upstreams."""

    def __init__(self, *upstreams: str) -> None:
        self.costing = Costing(Prices(PRICES, []), {})
        self.quotes = Quotes(self.costing, lambda call: [(one, call.model) for one in upstreams], lambda: DAY)
        self.keeps = True

    def expected(self, call: Call, estimate: Estimate) -> int:
        return self.quotes.expected(call, estimate)

    def most(self, call: Call, estimate: Estimate) -> int:
        return self.quotes.most(call, estimate)

    def legs(self, call: Call, outcome: Outcome) -> tuple[Leg, ...]:
        return self.costing.legs(call, outcome)


class Figures:
    def __init__(self) -> None:
        self.alerts: list[tuple[str, str, float]] = []
        self.overshoot = 0

    def budget_alert(self, kind: str, window: str, share: float) -> None:
        self.alerts.append((kind, window, share))

    def budget_overshoot(self, nano: int) -> None:
        self.overshoot += nano
