"""Tests openings of accounts together with a reservation, and their round trips to Redis."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kit.stores import RedisServer
from kit.together_guards import AllGuards, answered, costly

from flask_gateway.guards.account_changes import UNVERIFIED, PerWindow
from flask_gateway.guards.openings import DOUBTED
from flask_gateway.model.errors import BudgetUnknown, BudgetUsedUp
from flask_gateway.state.together import StoreUpdate


@pytest.fixture
def every(server: RedisServer) -> Iterator[AllGuards]:
    made = AllGuards(server)
    made.accounts._keeper.start = lambda: None  # type: ignore[method-assign]  # the tests call it
    yield made
    made.close()


def trips(every: AllGuards, output: int = 10, *, strict: bool = False) -> list[int]:
    """The round trips of a call: when it is admitted, and when it is settled."""
    before = every.trips
    permit = every.guard.admit(costly(strict=strict))
    between = every.trips
    permit.settle(answered(output))
    return [between - before, every.trips - between]


def test_without_the_ledger_a_closed_account_opens_in_doubt_or_not_at_all(every: AllGuards) -> None:
    every.ledger.now = None
    with pytest.raises(BudgetUnknown):
        every.guard.admit(costly(strict=True))
    assert every.taken() == [0, 0]
    assert trips(every) == [1, 1]  # it is known to be closed
    assert every.accounts.mark("team:t") & UNVERIFIED
    every.accounts.keep()
    assert every.store.read(DOUBTED) is not None


def test_without_the_ledger_an_open_account_serves_also_where_it_is_strict(every: AllGuards) -> None:
    assert trips(every) == [1, 1]
    other = every.another()  # a process that has not seen the account
    other.ledger.now = None
    assert trips(other, strict=True) == [1, 1]
    assert not every.accounts.mark("team:t") & UNVERIFIED
    other.close()


def test_a_ledger_that_is_behind_opens_no_account_that_may_be_open(every: AllGuards) -> None:
    every.set_current(False)
    assert trips(every) == [2, 1]
    assert every.accounts.mark("team:t") & UNVERIFIED


def test_the_used_amount_of_the_ledger_counts_in_the_same_trip(server: RedisServer) -> None:
    made = AllGuards(server, used=10**9 - 1)
    made.accounts._keeper.start = lambda: None  # type: ignore[method-assign]
    for _ in range(2):
        before = made.trips
        with pytest.raises(BudgetUsedUp):
            made.guard.admit(costly())
        assert made.trips - before == 1
    assert made.ledger.reads == 2  # twice for the opening; a refused call has opened the account, too
    made.close()


def test_costs_that_come_between_are_counted_and_later_ones_are_not(every: AllGuards) -> None:
    """The bookkeeper adds the costs of calls that have seen the account."""
    used = iter([0, 700])
    every.ledger.used = lambda subject, starts: (next(used),) * 4  # type: ignore[method-assign]
    permit = every.guard.admit(costly())
    every.ledger.used = lambda subject, starts: (90_000,) * 4  # type: ignore[method-assign]
    every.accounts.keep()
    permit.settle(answered(10))
    assert every.held() == (700 + 20_000, 0)


def test_costs_of_calls_that_settled_meanwhile_are_not_counted_twice(every: AllGuards) -> None:
    """Another machine has settled a call in the fresh account, and its bookkeeper has written it down."""
    other = every.another()

    is_open = iter([False, True])

    def used(subject: str, starts: PerWindow) -> PerWindow:
        if next(is_open, False):
            trips(other)
        return (every.held()[0],) * 4 if every.accounts.mark("team:t") else (0,) * 4

    every.ledger.used = used  # type: ignore[method-assign]
    permit = every.guard.admit(costly())
    for _ in range(3):
        every.accounts.keep()
    permit.settle(answered(10))
    assert every.held() == (40_000, 0)
    other.close()


def test_costs_that_others_hide_at_first_are_counted_later(every: AllGuards) -> None:
    """The call of another machine is settled, and its journal has not been read yet."""
    other = every.another()
    totals = iter([0, 20_000])
    every.ledger.used = lambda subject, starts: (next(totals),) * 4  # type: ignore[method-assign]
    permit = every.guard.admit(costly())
    assert trips(other) == [1, 1]
    every.ledger.used = lambda subject, starts: (40_000,) * 4  # type: ignore[method-assign]
    for _ in range(2):
        every.accounts.keep()
    permit.settle(answered(10))
    for _ in range(3):
        every.accounts.keep()
    assert every.held() == (60_000, 0)
    other.close()


def test_the_first_call_ever_and_one_after_an_hour_take_two_round_trips(every: AllGuards) -> None:
    assert trips(every) == [1, 1]
    assert trips(every) == [1, 1]
    for pause in (0.2, 5.0, 3700.0):
        every.now += pause
        assert trips(every) == [1, 1]
    every.close_account()
    every.ledger.now = 80_000
    assert trips(every) == [1, 1]
    assert every.held() == (80_000 + 20_000, 0)


def test_an_account_that_redis_has_lost_is_opened_by_the_call(every: AllGuards, server: RedisServer) -> None:
    assert trips(every) == [1, 1]
    server.call("FLUSHALL")
    every.set_current(True)
    every.ledger.now = 20_000
    assert trips(every) == [2, 1]
    assert every.held() == (40_000, 0)


def test_calls_that_find_an_account_closed_at_the_same_time_are_served(every: AllGuards) -> None:
    """Another thread has noted that it is closed, and has not opened it yet."""
    every.accounts._openings.know("money:team:t", closed=True)
    step = every.accounts._openings.step
    late: list[list[StoreUpdate]] = [[]]  # the changes of this call were named before that
    every.accounts._openings.step = lambda *place, **how: late.pop() if late else step(*place, **how)  # type: ignore[method-assign]
    assert trips(every) == [2, 1]
    assert every.held() == (20_000, 0)
