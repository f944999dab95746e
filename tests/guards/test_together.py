"""Slots and requests admitted together with Redis: refusals count nothing, and calls take two round trips."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from kit.calls import make_call
from kit.stores import RedisServer

from flask_gateway.guards.bulkhead import CallerBulkhead, caller_slots, subject_slots
from flask_gateway.guards.leases import ConcurrencyLeases
from flask_gateway.guards.rate_limiter import RateLimiter
from flask_gateway.guards.together import TogetherGuard
from flask_gateway.model.call import Call, Caller, Outcome
from flask_gateway.model.errors import RateLimited, TooManyConcurrent, Verdict
from flask_gateway.model.limits import CallLimits, Limits, SubjectLimits
from flask_gateway.state.fallback import FallbackStore
from flask_gateway.state.memory import MemoryStore
from flask_gateway.state.redis import RedisStore
from flask_gateway.state.together import TogetherStore

DONE = Outcome(Verdict.SUCCESS)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as made:
        yield made


class Guards:
    def __init__(self, server: RedisServer) -> None:
        server.call("FLUSHALL")
        primary = RedisStore(f"{server.url}?socket_timeout=10&socket_connect_timeout=10")
        self.store = TogetherStore(FallbackStore(primary, MemoryStore(), confirms=True))
        self.leases = ConcurrencyLeases(self.store)
        self.limiter = RateLimiter(self.store)
        self.guard = TogetherGuard(self.store, (CallerBulkhead(self.leases), self.limiter))

    def taken(self) -> list[int]:
        keys = (caller_slots("team-a"), subject_slots("team:t"))
        return [sum((self.store._store._primary.read(key) or ())[2::4]) for key in keys]


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


def test_a_call_takes_two_round_trips(guards: Guards, server: RedisServer) -> None:
    for _ in range(2):  # the first brings the scripts
        before = server.call("INFO", "commandstats")
        permit = guards.guard.admit(call(50))
        assert permit.headers["x-ratelimit-remaining-requests"]
        permit.settle(DONE)
        after = server.call("INFO", "commandstats")
    assert after["cmdstat_evalsha"]["calls"] - before["cmdstat_evalsha"]["calls"] == 2
    assert guards.taken() == [0, 0]


def test_a_call_without_limits_asks_nothing(guards: Guards, server: RedisServer) -> None:
    before = server.call("INFO", "commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]
    guards.guard.admit(msgspec.structs.replace(make_call(), caller=Caller("x", 0))).settle(DONE)
    after = server.call("INFO", "commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]
    assert after == before
