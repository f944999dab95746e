"""The guards of a caller's limits over a real Redis, whose round trips are counted."""

from __future__ import annotations

import threading
from typing import Any

import msgspec

from flask_gateway.guards.account_changes import PerWindow
from flask_gateway.guards.accounts import Accounts
from flask_gateway.guards.budgets import BudgetGuard
from flask_gateway.guards.bulkhead import CallerBulkhead, caller_slots, subject_slots
from flask_gateway.guards.leases import ConcurrencyLeases
from flask_gateway.guards.openings import CURRENT, account_key
from flask_gateway.guards.rate_limiter import RateLimiter
from flask_gateway.guards.together import TogetherGuard
from flask_gateway.guards.token_estimate import Estimates
from flask_gateway.guards.token_limiter import TokenLimiter
from flask_gateway.model.calendar_windows import Calendar, Window
from flask_gateway.model.call import Call, Caller, Outcome, Usage
from flask_gateway.model.errors import (
    Verdict,
)
from flask_gateway.model.limits import Budget, CallLimits, Limits, SubjectLimits
from flask_gateway.model.spend import Spend
from flask_gateway.state.fallback import FallbackStore
from flask_gateway.state.memory import MemoryStore
from flask_gateway.state.redis import RedisStore
from flask_gateway.state.together import TogetherStore
from kit.calls import make_call
from kit.priced_costs import DAY, Figures, Ledger, PricedCosts
from kit.stores import RedisServer
from kit.waiting import until


class Guards:
    def __init__(self, server: RedisServer, *, fresh: bool = True) -> None:
        if fresh:
            server.call("FLUSHALL")
        self.server = server
        primary = RedisStore(f"{server.url}?socket_timeout=10&socket_connect_timeout=10", remember=0.1)
        self.store = TogetherStore(FallbackStore(primary, MemoryStore(), confirms=True))
        self.leases = ConcurrencyLeases(self.store)
        self.limiter = RateLimiter(self.store)
        self.guard = TogetherGuard(self.store, (CallerBulkhead(self.leases), self.limiter))

    def taken(self) -> list[int]:
        keys = (caller_slots("team-a"), subject_slots("team:t"))
        return [sum((self.store._store._primary.read(key) or ())[2::4]) for key in keys]


class CountedLedger(Ledger):
    reads = 0

    def used(self, subject: str, starts: PerWindow) -> PerWindow:
        self.reads += 1
        return super().used(subject, starts)


class AllGuards(Guards):
    """With tokens and money, whose account is open."""

    def __init__(self, server: RedisServer, used: int = 0, *, fresh: bool = True) -> None:
        super().__init__(server, fresh=fresh)
        self._with_money(CountedLedger(used))

    def _with_money(self, ledger: CountedLedger) -> None:
        self.ledger = ledger
        self.estimates = Estimates()
        self.tokens = TokenLimiter(self.store, self.estimates)
        self.now = DAY + 60.0
        self.accounts = Accounts(self.store, ledger, Calendar(), lambda: self.now, patience=0.0)
        costs = PricedCosts("up")
        self.budgets = BudgetGuard(self.accounts, self.estimates, costs, Figures(), shares=(), tell=True)
        asked = (CallerBulkhead(self.leases), self.limiter, self.tokens, self.budgets)
        self.guard = TogetherGuard(self.store, asked)
        self.trips, primary = 0, self.store._store._primary
        primary._recent.clock = lambda: 0.0  # a read never grows old, however late its thread is
        self.set_current(True)
        ask = primary._call

        def counted(*command: Any) -> Any:
            answer = ask(*command)  # or it raises: Redis does not know the script yet
            self.trips += threading.current_thread() is threading.main_thread()
            return answer

        primary._call = counted

    def set_current(self, current: bool) -> None:
        """Whether the ledger is. The thread that reads watched keys has seen it."""
        recent, name = self.store._store._primary._recent, b"flask_gateway:" + CURRENT.encode()
        self.store.update(CURRENT, lambda old, now: ((now,) if current else None, None), 1800)
        assert until(lambda: (read := recent.get(name)) and (read.value is not None) is current)

    def another(self) -> AllGuards:
        """As another process has them, with the same Redis."""
        return AllGuards(self.server, fresh=False)

    def close_account(self) -> None:
        """As after an hour without a call."""
        self.now += 3700
        self.store._store._primary.update(account_key("team:t"), lambda old, now: (None, None), 60)

    def held(self) -> tuple[int, int]:
        """The costs of the account, and the amount that it holds, nano-dollars."""
        view = self.accounts.view("team:t")
        return view.used[3], view.held

    def close(self) -> None:
        self.tokens._returns.flush()
        for keeper in (self.leases._keeper, self.accounts._keeper):
            keeper.stop()
        self.store.close()


def costly(tokens: int = 10**6, dollars: int = 1, *, strict: bool = False) -> Call:
    """A call with all limits. It reserves 1024 tokens of an answer and some of a prompt."""
    budgets = (Budget(dollars * 10**9, Window.TOTAL, strict),)
    limits = Limits(requests=100, concurrent=50, tokens=tokens, budgets=budgets)
    fields = {"caller": Caller("team-a", 100, max_concurrent=50), "model": "m", "spend": Spend()}
    return msgspec.structs.replace(
        make_call(), limits=CallLimits((SubjectLimits("team:t", limits),)), **fields
    )


def answered(output: int) -> Outcome:
    return Outcome(Verdict.SUCCESS, Usage(0, output), upstream="up", model="m", started_ns=DAY * 10**9)
