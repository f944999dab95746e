"""A caller's limits asked together in Redis: refusals count nothing, and calls take two round trips."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import msgspec
import pytest
from kit.calls import make_call
from kit.stores import RedisServer
from kit.together_guards import AllGuards, Guards, answered, costly

from flask_gateway.guards.allotments import BUSY, LASTS
from flask_gateway.guards.token_limiter import tokens_left
from flask_gateway.model.calendar_windows import Window
from flask_gateway.model.call import Call, Caller, Outcome
from flask_gateway.model.errors import (
    BudgetUsedUp,
    LedgerUnavailable,
    RateLimited,
    TokensUsedUp,
    TooManyConcurrent,
    Verdict,
)
from flask_gateway.model.limits import Budget, CallLimits, Limits, SubjectLimits

DONE = Outcome(Verdict.SUCCESS)


@pytest.fixture
def guards(server: RedisServer) -> Iterator[Guards]:
    made = Guards(server)
    yield made
    made.leases._keeper.stop()
    made.store.close()


def call(requests: int = 5, slots: int = 5, **team: Any) -> Call:
    caller = Caller("team-a", requests, max_concurrent=slots)
    limits = CallLimits((SubjectLimits("team:t", Limits(**{"concurrent": 5, "requests": 5, **team})),))
    return msgspec.structs.replace(make_call(), caller=caller, limits=limits)


@pytest.mark.parametrize(
    ("limits", "error"),
    [
        ({"requests": 1}, RateLimited),
        ({"slots": 1}, TooManyConcurrent),
        ({"team": {"concurrent": 1}}, TooManyConcurrent),
        ({"team": {"requests": 1}}, RateLimited),
    ],
)
def test_a_refusal_counts_nothing(guards: Guards, limits: dict[str, Any], error: type[Exception]) -> None:
    own = {name: value for name, value in limits.items() if name != "team"}
    asked = call(**own, **limits.get("team", {}))
    first = guards.guard.admit(asked)
    for _ in range(3):
        with pytest.raises(error):
            guards.guard.admit(asked)
    assert guards.taken() == [1, 1]
    assert guards.limiter.quota(asked.caller).remaining == asked.caller.rate_limit - 1
    first.cancel()
    assert guards.taken() == [0, 0]
    assert guards.limiter.quota(asked.caller).remaining == asked.caller.rate_limit


def scripts(server: RedisServer) -> int:
    stats = server.call("INFO", "commandstats")
    return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("eval", "evalsha"))


def test_a_call_takes_two_round_trips(guards: Guards, server: RedisServer) -> None:
    for _ in range(2):  # the first brings the scripts, in the same trips
        before = scripts(server)
        permit = guards.guard.admit(call(50))
        assert permit.headers["x-ratelimit-remaining-requests"]
        permit.settle(DONE)
        assert scripts(server) - before == 2
    assert guards.taken() == [0, 0]


@pytest.fixture
def every(server: RedisServer) -> Iterator[AllGuards]:
    made = AllGuards(server)
    yield made
    made.close()


def test_a_refusal_of_the_last_limit_leaves_every_other_as_it_was(every: AllGuards) -> None:
    every.guard.admit(costly()).settle(answered(10))
    assert every.held() == (20_000, 0)
    for asked, error in ((costly(tokens=500), TokensUsedUp), (costly(dollars=0), BudgetUsedUp)):
        with pytest.raises(error):
            every.guard.admit(asked)
    every.tokens._returns.flush()
    assert every.held() == (20_000, 0)
    assert every.taken() == [0, 0]
    assert every.limiter.quota(costly().caller).remaining == 99
    assert tokens_left(every.store, "team:t", 10**6).remaining == 10**6 - 10


def test_all_that_was_taken_goes_back_if_a_guard_refuses_later(every: AllGuards) -> None:
    every.guard.admit(costly()).settle(answered(10))
    every.budgets._costs.keeps = False  # a strict budget refuses then, whatever Redis has answered
    with pytest.raises(LedgerUnavailable):
        every.guard.admit(costly(strict=True))
    every.tokens._returns.flush()
    assert every.held() == (20_000, 0)
    assert every.taken() == [0, 0]
    assert tokens_left(every.store, "team:t", 10**6).remaining == 10**6 - 10


@pytest.mark.parametrize("output", [10, 5000])
def test_a_call_of_an_idle_key_with_all_limits_takes_two_round_trips(every: AllGuards, output: int) -> None:
    """Also one that used more tokens than it had reserved."""
    for _ in range(2):  # the first opens the account and brings the scripts
        every.guard.admit(costly()).settle(answered(10))
        every.tokens._returns.flush()
    every.guard.admit(costly()).settle(answered(output))
    every.tokens._returns.flush()
    before = every.trips
    permit = every.guard.admit(costly())
    assert every.trips - before == 1
    assert {"x-ratelimit-remaining-tokens", "x-gateway-budget-remaining"} <= set(permit.headers)
    assert every.held()[1] > 0
    before = every.trips
    permit.settle(answered(output))
    assert every.trips - before == 1
    assert every.held() == ((40 + 4 * output) * 1000, 0)
    assert every.taken() == [0, 0]


def test_a_call_of_a_busy_key_takes_two_round_trips_also_when_it_reserves_for_others(
    every: AllGuards,
) -> None:
    for allotments in (every.tokens._allotments, every.accounts.allotments):
        allotments.clock = lambda: moment
        allotments._thread.start = lambda: None  # type: ignore[method-assign]  # it would end one in between
    moment, rich = 0.0, costly(10**9, 10**6)
    every.guard.admit(rich).settle(answered(10))
    counts = []
    for _ in range(3 * BUSY):
        moment += LASTS / 2 / BUSY
        before = every.trips
        every.guard.admit(costly(10**9, 10**6)).settle(answered(10))
        counts.append(every.trips - before)
    every.tokens._allotments.end_all()
    every.accounts.allotments.end_all()
    every.tokens._returns.flush()
    assert max(counts) == 2
    assert every.held()[1] == 0
    assert tokens_left(every.store, "team:t", 10**9).remaining == 10**9 - 10 * (3 * BUSY + 1)


@pytest.mark.parametrize(
    ("limits", "error"),
    [
        ({"slots": 1}, TooManyConcurrent),
        ({"requests": 1}, RateLimited),
        ({"team": {"concurrent": 1}}, TooManyConcurrent),
        ({"team": {"requests": 1}}, RateLimited),
        ({"team": {"tokens": 500}}, TokensUsedUp),
        ({"team": {"budgets": (Budget(10**3, Window.TOTAL, False),)}}, BudgetUsedUp),
        ({"team": {"budgets": (Budget(10**3, Window.TOTAL, True),)}}, BudgetUsedUp),
    ],
)
@pytest.mark.parametrize("idle", [False, True])
def test_a_call_that_a_limit_refuses_takes_one_round_trip(
    every: AllGuards, limits: dict[str, Any], error: type[Exception], idle: bool
) -> None:
    """Also if the account is not open yet, and a retry too."""
    held = every.guard.admit(costly())
    if idle:
        every.close_account()
    asked = costly()
    own = {"slots": 50, "requests": 100, **limits}
    caller = Caller("team-a", own["requests"], max_concurrent=own["slots"])
    team = msgspec.structs.replace(asked.limits.subjects[0].limits, **limits.get("team", {}))
    asked = msgspec.structs.replace(asked, caller=caller, limits=CallLimits((SubjectLimits("team:t", team),)))
    for _ in range(2):
        before = every.trips
        with pytest.raises(error) as caught:
            every.guard.admit(msgspec.structs.replace(asked, limits=CallLimits(asked.limits.subjects)))
        assert every.trips - before == 1
        if error is not TooManyConcurrent:
            left = "0" if error is RateLimited else "99"
            assert caught.value.headers["x-ratelimit-remaining-requests"] == left
    assert every.taken() == [1, 1]
    held.cancel()
    every.tokens._returns.flush()
    assert (every.taken(), every.held()) == ([0, 0], (0, 0))
    assert tokens_left(every.store, "team:t", 10**6).remaining == 10**6
    assert every.limiter.quota(costly().caller).remaining == 100


@pytest.mark.soak
def test_the_time_that_redis_takes_for_a_call_with_all_limits(every: AllGuards, server: RedisServer) -> None:
    """Of an idle key, whose team has limits, too. ``docs/fleet.md`` has the figure."""
    seconds = count(step=10)
    for allotments in (every.tokens._allotments, every.accounts.allotments):
        allotments.clock = lambda: float(next(seconds))
    every.guard.admit(costly()).settle(answered(10))
    spent = []
    for _ in range(20):
        before = server.call("INFO", "commandstats")["cmdstat_evalsha"]["usec"]
        for _ in range(4):
            every.guard.admit(costly()).settle(answered(10))
        spent.append((server.call("INFO", "commandstats")["cmdstat_evalsha"]["usec"] - before) / 4)
    print(f"\nRedis takes {min(spent):.0f} µs at least, {sorted(spent)[10]:.0f} at the median")
    assert min(spent) < 2000


def test_a_call_without_limits_asks_nothing(guards: Guards, server: RedisServer) -> None:
    before = server.call("INFO", "commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]
    guards.guard.admit(msgspec.structs.replace(make_call(), caller=Caller("x", 0))).settle(DONE)
    after = server.call("INFO", "commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]
    assert after == before
