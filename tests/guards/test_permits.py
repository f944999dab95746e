"""Every guard: a cancelled permit leaves no trace, a settled one ends once, and both are safe under threads.

A new guard is one more entry of ``GUARDS``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.calls import make_call
from kit.stores import HandClock

from flask_gateway.guards.breaker import Breaker
from flask_gateway.guards.breaker_state import Policy
from flask_gateway.guards.bulkhead import CallerBulkhead, UpstreamBulkhead, upstream_key
from flask_gateway.guards.inflight import InFlightCalls, UpstreamThreadQuota
from flask_gateway.guards.leases import ConcurrencyLeases
from flask_gateway.guards.rate_limiter import RateLimiter
from flask_gateway.guards.token_estimate import Estimates
from flask_gateway.guards.token_limiter import TokenLimiter
from flask_gateway.model.call import Call, Caller, Outcome
from flask_gateway.model.errors import GatewayError, Verdict
from flask_gateway.model.limits import CallLimits, Limits, SubjectLimits
from flask_gateway.model.protocols import Guard, Permit
from flask_gateway.routing.dispatcher import Guarded
from flask_gateway.state.fallback import FallbackStore
from flask_gateway.state.memory import MemoryStore
from flask_gateway.state.shared_memory import Memory, SharedStore
from flask_gateway.state.store import SECOND, Store

LIMIT = 5
CALLER = Caller("team-a", LIMIT, max_concurrent=LIMIT)
DONE, FAILED = Outcome(Verdict.SUCCESS), Outcome(Verdict.FAILURE)
POLICY = Policy(max_failures=2, reset=30 * SECOND, lease=10 * SECOND)


class Case(NamedTuple):
    """A guard, and a function that shows its state."""

    guard: Guard
    state: Callable[[], Any]


def call() -> Call:
    return make_call(caller=CALLER)


def rate_limiter(store: Store, advance: Callable[[float], None]) -> Case:
    limiter = RateLimiter(store)
    return Case(limiter, lambda: (limiter.headers(CALLER), store.read("limit:team-a")))


def buckets(store: Store, advance: Callable[[float], None]) -> Case:
    """A limit so high that requests are counted in buckets."""
    caller, limiter = Caller("team-a", 1000), RateLimiter(store)

    class High:
        def admit(self, call: Call) -> Permit:
            return limiter.admit(make_call(caller=caller))

    return Case(High(), lambda: (limiter.headers(caller), store.read("limit:team-a")))


def caller_bulkhead(store: Store, advance: Callable[[float], None]) -> Case:
    slots = ConcurrencyLeases(store)
    return Case(CallerBulkhead(slots), lambda: slots.taken("slots:key:team-a"))


def upstream_bulkhead(store: Store, advance: Callable[[float], None]) -> Case:
    slots = ConcurrencyLeases(store)
    return Case(UpstreamBulkhead("llama", LIMIT, slots), lambda: slots.taken(upstream_key("llama")))


def closed_breaker(store: Store, advance: Callable[[float], None]) -> Case:
    breaker = Breaker("llama", store, POLICY)
    breaker.admit(call()).settle(FAILED)
    return Case(breaker, lambda: (breaker.status(), store.read("breaker:llama")))


def breaker_that_probes(store: Store, advance: Callable[[float], None]) -> Case:
    breaker = Breaker("llama", store, POLICY)
    for _ in range(2):
        breaker.admit(call()).settle(FAILED)
    advance(31.0)
    return Case(breaker, lambda: (breaker.status(), store.read("breaker:llama")))


def in_flight(store: Store, advance: Callable[[float], None]) -> Case:
    calls = InFlightCalls(LIMIT)
    return Case(calls, lambda: (calls.streams, calls.threads, calls.standing(0.0)))


def thread_quota(store: Store, advance: Callable[[float], None]) -> Case:
    calls = InFlightCalls(LIMIT)
    held = [call() for _ in range(2)]
    for one in held:
        calls.admit(one)

    class Quota:
        def admit(self, call: Call) -> Permit:
            return UpstreamThreadQuota("llama", calls).admit(held[0])

    return Case(Quota(), lambda: (dict(calls._by_upstream), calls.standing(0.0)))


def subjects(of: Limits) -> CallLimits:
    """A team and all calls, both with those limits."""
    return CallLimits((SubjectLimits("team:a", of), SubjectLimits("all", of)))


class Limited:
    """A guard that meets only calls with limits."""

    def __init__(self, guard: Guard, limits: Limits) -> None:
        self.guard, self.limits = guard, limits

    def admit(self, call: Call) -> Permit:
        return self.guard.admit(msgspec.structs.replace(call, limits=subjects(self.limits)))


def rate_limiter_of_subjects(store: Store, advance: Callable[[float], None]) -> Case:
    limiter, keys = RateLimiter(store), ("limit:team-a", "requests:team:a", "requests:all")
    guard = Limited(limiter, Limits(requests=LIMIT))
    return Case(guard, lambda: (limiter.headers(CALLER), *map(store.read, keys)))


def bulkhead_of_subjects(store: Store, advance: Callable[[float], None]) -> Case:
    slots = ConcurrencyLeases(store)
    keys = ("slots:key:team-a", "slots:subject:team:a", "slots:subject:all")
    return Case(
        Limited(CallerBulkhead(slots), Limits(concurrent=LIMIT)), lambda: list(map(slots.taken, keys))
    )


def tokens(store: Store, advance: Callable[[float], None]) -> Case:
    guard = Limited(TokenLimiter(store, Estimates()), Limits(tokens=LIMIT * 1040))
    return Case(guard, lambda: (store.read("tokens:team:a"), store.read("tokens:all")))


GUARDS = [
    rate_limiter,
    rate_limiter_of_subjects,
    bulkhead_of_subjects,
    tokens,
    buckets,
    caller_bulkhead,
    upstream_bulkhead,
    closed_breaker,
    breaker_that_probes,
    in_flight,
    thread_quota,
]


def memory(clock: HandClock) -> Store:
    return MemoryStore(clock)


def shared(clock: HandClock) -> Store:
    return SharedStore(Memory(), clock)


def confirmed(clock: HandClock) -> Store:
    """A primary that may forget: each request is counted in two stores, with two clocks."""
    return FallbackStore(MemoryStore(clock), MemoryStore(lambda: clock() + 77), confirms=True)


STORES = [memory, shared, confirmed]


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, clock: HandClock) -> Iterator[Store]:
    made = request.param(clock)
    yield made
    made.close()


@pytest.fixture(params=GUARDS)
def case(request: pytest.FixtureRequest, store: Store, clock: HandClock) -> Case:
    made: Case = request.param(store, clock.advance)
    return made


def test_a_cancelled_permit_leaves_the_state_as_it_was(case: Case) -> None:
    before = case.state()
    permit = case.guard.admit(call())
    permit.cancel()
    assert case.state() == before
    permit.cancel()
    permit.settle(FAILED)
    assert case.state() == before


def test_a_settled_permit_cannot_be_cancelled(case: Case) -> None:
    permit = case.guard.admit(call())
    permit.settle(DONE)
    after = case.state()
    permit.cancel()
    permit.settle(FAILED)
    assert case.state() == after


def test_a_refusal_by_a_later_guard_leaves_the_state_as_it_was(case: Case) -> None:
    class Refuses:
        def admit(self, call: Call) -> Permit:
            raise GatewayError("no")

    class Never:
        name = "never"

        def send(self, call: Call) -> Any:
            raise AssertionError

    before = case.state()
    with pytest.raises(GatewayError):
        Guarded(Never(), [case.guard, Refuses()]).send(call())
    assert case.state() == before


def test_a_cancelled_place_can_be_taken_again(case: Case) -> None:
    for _ in range(3 * LIMIT):
        case.guard.admit(call()).cancel()
    case.guard.admit(call())


def test_the_headers_of_a_cancelled_request_show_the_quota_without_it(store: Store) -> None:
    limiter = RateLimiter(store)
    permit = limiter.admit(call())
    assert permit.headers["x-ratelimit-remaining-requests"] == str(LIMIT - 1)
    permit.cancel()
    assert permit.headers["x-ratelimit-remaining-requests"] == str(LIMIT)


_steps = st.lists(
    st.one_of(st.just("admit"), st.integers(0, 20), st.floats(0.001, 40.0)), min_size=1, max_size=40
)


@pytest.mark.parametrize("make", STORES)
@pytest.mark.parametrize("limit", [3, 1000])
@settings(max_examples=60, deadline=None)
@given(steps=_steps)
def test_the_log_is_that_of_the_requests_that_were_not_cancelled(
    make: Callable[[HandClock], Store], limit: int, steps: list[Any]
) -> None:
    """Every cancelled request is as if it had never come, in any order and at any distance."""
    clock, caller = HandClock(), Caller("team-a", limit)
    store = make(clock)
    limiter = RateLimiter(store)
    stamps: list[tuple[Permit, int]] = []
    for step in steps:
        if step == "admit":
            try:
                stamps.append((limiter.admit(make_call(caller=caller)), clock()))
            except GatewayError:
                continue
        elif isinstance(step, int):
            if stamps:
                stamps.pop(step % len(stamps))[0].cancel()
        else:
            clock.advance(step)
    clock.advance(0.0)
    model_clock = HandClock()
    model_store = make(model_clock)
    model = RateLimiter(model_store)
    for _, at in stamps:
        model_clock.micros = at
        model.admit(make_call(caller=caller))
    model_clock.micros = clock.micros
    assert limiter.headers(caller) == model.headers(caller)
    for one in (store, model_store):
        one.close()


@pytest.mark.parametrize("make_store", STORES)
@pytest.mark.parametrize("make", GUARDS)
def test_threads_that_only_cancel_leave_the_state_as_it_was(
    make: Callable[..., Case], make_store: Callable[[HandClock], Store]
) -> None:
    clock = HandClock()
    store = make_store(clock)
    case = make(store, clock.advance)
    before = case.state()
    surprises: list[BaseException] = []

    def work() -> None:
        for _ in range(60):
            try:
                case.guard.admit(call()).cancel()
            except GatewayError:
                continue
            except BaseException as error:
                surprises.append(error)
                raise

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert surprises == []
    assert case.state() == before
    store.close()


def test_threads_that_settle_and_cancel_are_counted_by_what_was_settled(store: Store) -> None:
    limiter, caller = RateLimiter(store), Caller("team-a", 10_000)

    def work() -> None:
        for number in range(100):
            permit = limiter.admit(make_call(caller=caller))
            if number % 3:
                permit.cancel()
            else:
                permit.settle(DONE)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert limiter.headers(caller)["x-ratelimit-remaining-requests"] == str(10_000 - 4 * 34)


def test_a_probe_that_was_cancelled_after_others_changed_the_state_returns_its_lease(
    clock: HandClock,
) -> None:
    store = MemoryStore(clock)
    breaker, other = Breaker("llama", store, POLICY), make_call(caller=Caller("team-b", 0))
    for one in (call(), other):  # both fail, so the circuit opens for all callers
        breaker.admit(one).settle(FAILED)
    clock.advance(31)
    probe = breaker.admit(call())
    clock.advance(11)  # the lease has expired, and another caller probes
    second = breaker.admit(other)
    probe.cancel()
    with pytest.raises(GatewayError):
        breaker.admit(call())  # the second probe still holds its lease
    second.cancel()
    breaker.admit(call())


def test_a_request_that_has_left_the_window_is_not_given_back(store: Store, clock: HandClock) -> None:
    limiter = RateLimiter(store)
    old = limiter.admit(call())
    clock.advance(61)
    limiter.admit(call())
    old.cancel()
    assert limiter.headers(CALLER)["x-ratelimit-remaining-requests"] == str(LIMIT - 1)
