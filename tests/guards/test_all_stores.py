"""One suite for the limits over every store: memory, shared memory, and Redis as several machines see it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from kit.calls import make_call
from kit.stores import HandClock
from kit.waiting import until

from flask_gateway.guards.account_changes import NO_LIMIT, PerWindow, ReserveResult
from flask_gateway.guards.accounts import Accounts
from flask_gateway.guards.breaker import Breaker
from flask_gateway.guards.breaker_state import Policy
from flask_gateway.guards.leases import ConcurrencyLeases
from flask_gateway.guards.openings import account_key
from flask_gateway.guards.rate_limiter import RateLimiter
from flask_gateway.guards.token_estimate import Estimates
from flask_gateway.guards.token_limiter import TokenLimiter
from flask_gateway.model.calendar_windows import Calendar
from flask_gateway.model.call import Call, Outcome, Usage
from flask_gateway.model.errors import RateLimited, TokensUsedUp, UpstreamTakenOut, Verdict
from flask_gateway.model.limits import CallLimits, Limits, SubjectLimits
from flask_gateway.state.contract import StoreError
from flask_gateway.state.fallback import FallbackStore
from flask_gateway.state.memory import MemoryStore
from flask_gateway.state.redis import RedisStore
from flask_gateway.state.shared_memory import Memory, SharedStore
from flask_gateway.state.store import Store

WALL, KEY = 1_795_651_200.0, "key:web"
DOLLAR, CENT = 10**9, 10**7
MESSAGES = [{"role": "user", "content": "x" * 370}]  # 100 tokens


@pytest.fixture(params=["memory", "shared", "redis"])
def stores(request: pytest.FixtureRequest) -> Iterator[list[Store]]:
    """The store as three processes have it."""
    made: list[Store]
    if request.param == "redis":
        server = request.getfixturevalue("server")
        server.call("FLUSHALL")
        url = f"{server.url}?socket_timeout=10&socket_connect_timeout=10"
        made = [RedisStore(url) for _ in range(3)]
    else:
        made = [MemoryStore() if request.param == "memory" else SharedStore(Memory())] * 3
    yield made
    for store in made:
        store.close()


class Ledger:
    def __init__(self, used: int = 0) -> None:
        self.amount = used

    def used(self, subject: str, starts: PerWindow) -> PerWindow:
        return (self.amount,) * 4


def accounts_of(store: Store, ledger: Ledger | None = None) -> Accounts:
    made = Accounts(store, ledger or Ledger(), Calendar(), lambda: WALL, patience=0.0)
    made._keeper.start = lambda: None  # type: ignore[method-assign]
    made.now_current()
    return made


def together(work: Callable[[int], int]) -> int:
    """Run the work in three threads, with the number of each. Return the sum of what they answer."""
    done: list[int] = []
    threads = [threading.Thread(target=lambda n=n: done.append(work(n))) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 3
    return sum(done)


@pytest.mark.parametrize(("amount", "admitted"), [(CENT, 100), (7 * CENT // 10, 142)])
def test_a_dollar_lets_in_what_it_pays_for(stores: list[Store], amount: int, admitted: int) -> None:
    processes = [accounts_of(store) for store in stores]
    limits = (DOLLAR, NO_LIMIT, NO_LIMIT, 5 * DOLLAR)

    def spend(number: int) -> int:
        accounts, count = processes[number], 0
        while (held := accounts.reserve(KEY, limits, amount, strict=False).hold) is not None:
            accounts.settle(held, amount)
            count += 1
        return count

    assert together(spend) == admitted
    view = processes[0].view(KEY)
    assert (view.used[0], view.held) == (admitted * amount, 0)


def test_a_refusal_leaves_the_account_byte_for_byte(stores: list[Store]) -> None:
    first, second, _ = (accounts_of(store, Ledger(4)) for store in stores)
    limits = (10, NO_LIMIT, NO_LIMIT, NO_LIMIT)
    hold = first.reserve(KEY, limits, 6, strict=True).hold
    before = stores[0].read(account_key(KEY))
    refused = second.reserve(KEY, limits, 1, strict=True)
    assert (refused.hold, refused.reservation.result) == (None, ReserveResult.REFUSED)
    assert (refused.reservation.window, refused.reservation.left) == (0, 0)
    assert stores[2].read(account_key(KEY)) == before
    assert hold is not None
    settled = first.settle(hold, 3)
    assert settled.windows[0][1:] == (4, 7)
    again = first.settle(hold, 0)  # the hold is over; it changes nothing more
    assert (second.view(KEY).used[0], second.view(KEY).held, again.mark) == (7, 0, settled.mark)
    assert second.reserve(KEY, limits, 3, strict=True).hold is not None


def test_a_lost_hold_is_restored_and_a_late_cost_is_posted(stores: list[Store]) -> None:
    first, second, _ = (accounts_of(store) for store in stores)
    limits = (10, NO_LIMIT, NO_LIMIT, NO_LIMIT)
    assert first.reserve(KEY, limits, 6, strict=False).hold is not None
    first.forget_all()
    assert second.reserve(KEY, limits, 1, strict=False).hold is not None
    first.keep()
    assert second.view(KEY).held == 7
    second.post(KEY, 2)
    assert second.reserve(KEY, limits, 2, strict=False).reservation.left == 1


def limited(**limits: Any) -> Call:
    made = make_call(messages=MESSAGES, max_tokens=100)
    return msgspec.structs.replace(made, limits=CallLimits((SubjectLimits("team:a", Limits(**limits)),)))


def test_tokens_are_exact_over_processes(stores: list[Store]) -> None:
    limiters = [TokenLimiter(store, Estimates()) for store in stores]

    def spend(number: int) -> int:
        count = 0
        while True:
            try:
                permit = limiters[number].admit(limited(tokens=3000))
            except TokensUsedUp:
                return count
            permit.settle(Outcome(Verdict.SUCCESS, Usage(100, 100)))
            count += 1

    assert together(spend) == 15


def test_unused_tokens_return_and_missing_ones_count(stores: list[Store]) -> None:
    first, second, _ = (TokenLimiter(store, Estimates()) for store in stores)
    permit = first.admit(limited(tokens=1000))
    permit.settle(Outcome(Verdict.SUCCESS, Usage(100, 400)))
    permit = second.admit(limited(tokens=1000))
    assert permit.headers["x-ratelimit-remaining-tokens"] == "300"
    permit.settle(Outcome(Verdict.SUCCESS, Usage(10, 0)))
    permit = second.admit(limited(tokens=1000))
    assert permit.headers["x-ratelimit-remaining-tokens"] == "290"
    permit.cancel()
    assert first.admit(limited(tokens=1000)).headers["x-ratelimit-remaining-tokens"] == "290"


@pytest.mark.parametrize("limit", [40, 400])
def test_requests_are_exact_and_cancelled_ones_return(stores: list[Store], limit: int) -> None:
    limiters = [RateLimiter(store) for store in stores]
    cancelled = limiters[2].admit(limited(requests=limit))
    cancelled.cancel()
    assert cancelled.headers["x-ratelimit-remaining-requests"] == str(limit)

    def ask(number: int) -> int:
        count = 0
        while True:
            try:
                limiters[number].admit(limited(requests=limit))
            except RateLimited:
                return count
            count += 1

    assert together(ask) == limit


def test_slots_are_exact_renewed_and_released(stores: list[Store]) -> None:
    processes = [ConcurrencyLeases(store) for store in stores]
    taken = [processes[number % 3].acquire("slots:key:a", 7) for number in range(9)]
    assert [bool(epoch) for epoch in taken] == [True] * 7 + [False] * 2
    assert processes[1].taken("slots:key:a") == 7
    for process in processes:
        process.keep()
    assert processes[1].taken("slots:key:a") == 7
    processes[0].release("slots:key:a", taken[0])
    assert processes[2].acquire("slots:key:a", 7)
    assert not processes[1].acquire("slots:key:a", 7)


class Flaky(MemoryStore):
    """A store of several machines that is away while it is told to be."""

    away = True

    def read(self, key: str) -> tuple[int, ...] | None:
        if self.away:
            raise StoreError("away")
        return super().read(key)

    def update(self, key: str, change: Any, ttl: float) -> Any:
        if self.away:
            raise StoreError("away")
        return super().update(key, change, ttl)


def holds(accounts: Accounts, limit: int, amount: int) -> bool:
    limits = (limit, NO_LIMIT, NO_LIMIT, NO_LIMIT)
    return accounts.reserve(KEY, limits, amount, strict=False).hold is not None


def test_two_machines_without_redis_have_half_of_what_was_left_each() -> None:
    """Case 10 of the design: a limit of 10 US dollars of which 4 were used."""
    million = 1_000_000
    for _ in range(2):
        accounts = accounts_of(FallbackStore(Flaky(), MemoryStore(), share=2), Ledger(4 * million))
        for amount, there in ((2 * million, True), (million + 1, False), (million, True), (1, False)):
            assert holds(accounts, 10 * million, amount) == there


def test_the_next_outage_begins_with_what_the_ledger_knows_then() -> None:
    clock, shared, ledger = HandClock(), Flaky(), Ledger(4)
    store = FallbackStore(shared, MemoryStore(), share=2, clock=lambda: clock() / 1e6)
    accounts = accounts_of(store, ledger)
    assert holds(accounts, 10, 3)
    shared.away = False
    clock.advance(2)
    store.read(KEY)
    assert until(lambda: not store.degraded)
    ledger.amount = 9
    shared.away = True
    assert not holds(accounts, 10, 1)


def test_an_upstream_that_one_process_takes_out_is_out_for_all(stores: list[Store]) -> None:
    policy = Policy(5, 30_000_000, 10_000_000)
    breakers = [Breaker("up", store, policy, settings="s") for store in stores]
    breakers[0].take_out(60)
    for breaker in breakers:
        with pytest.raises(UpstreamTakenOut):
            breaker.admit(make_call())
    breakers[2].take_out(0)
    for breaker in breakers:
        breaker.admit(make_call())
