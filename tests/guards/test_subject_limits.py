"""Limits of requests and of calls in flight of teams, models, end users and all calls together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from kit.calls import make_call

from flask_gateway.guards.bulkhead import CallerBulkhead
from flask_gateway.guards.leases import ConcurrencyLeases
from flask_gateway.guards.rate_limiter import RateLimiter
from flask_gateway.model.call import Call, Caller, Outcome
from flask_gateway.model.errors import RateLimited, TooManyConcurrent, Verdict
from flask_gateway.model.limits import CallLimits, Limits, OwnerLimits, Owners, SubjectLimits, words_of
from flask_gateway.state.memory import MemoryStore

CALLER = Caller("web", 3, max_concurrent=3)


def call(caller: Caller = CALLER, **limits: Limits) -> Call:
    subjects = tuple(SubjectLimits(name.replace("_", ":"), limit) for name, limit in limits.items())
    return msgspec.structs.replace(make_call(caller=caller), limits=CallLimits(subjects))


@pytest.mark.parametrize(
    ("make", "limit", "refusal"),
    [
        (RateLimiter, lambda n: Limits(requests=n), RateLimited),
        (
            lambda store: CallerBulkhead(ConcurrencyLeases(store)),
            lambda n: Limits(concurrent=n),
            TooManyConcurrent,
        ),
    ],
)
def test_every_subject_must_have_room(
    make: Callable[[MemoryStore], Any],
    limit: Callable[[int], Limits],
    refusal: type[Exception],
    store: MemoryStore,
) -> None:
    guard = make(store)
    guard.admit(call(team_a=limit(2), all=limit(9)))
    guard.admit(call(Caller("other", 3, max_concurrent=3), team_a=limit(2), all=limit(9)))
    kept = dict(store.scan("requests:"))
    with pytest.raises(refusal, match="The team 'a'"):
        guard.admit(call(team_a=limit(2), all=limit(9)))
    assert dict(store.scan("requests:")) == kept
    for _ in range(2):  # the refusal has cost the key nothing
        guard.admit(call())
    with pytest.raises(refusal, match="This key"):
        guard.admit(call(all=limit(9)))


def test_the_headers_are_those_of_the_subject_with_the_fewest_requests_left(store: MemoryStore) -> None:
    limiter = RateLimiter(store)
    permit = limiter.admit(call(team_a=Limits(requests=2), all=Limits(requests=50)))
    assert permit.headers["x-ratelimit-limit-requests"] == "2"
    permit = limiter.admit(call(all=Limits(requests=50)))
    assert permit.headers["x-ratelimit-limit-requests"] == "3"
    free = limiter.admit(call(Caller("free", 0), all=Limits(requests=50)))
    assert free.headers["x-ratelimit-remaining-requests"] == "47"


def test_slots_of_subjects_are_freed_once(store: MemoryStore) -> None:
    guard = CallerBulkhead(ConcurrencyLeases(store))
    permit = guard.admit(call(model_m=Limits(concurrent=1)))
    for _ in range(2):
        permit.settle(Outcome(Verdict.SUCCESS))
    guard.admit(call(model_m=Limits(concurrent=1)))
    with pytest.raises(TooManyConcurrent, match="The model 'm'"):
        guard.admit(call(model_m=Limits(concurrent=1)))


def test_the_subjects_of_a_call_are_asked_from_the_key_outwards() -> None:
    one = Limits(requests=1)
    policy = OwnerLimits(own=one, models={"m": one}, users=one)
    owners = Owners("web", policy, "search", policy, OwnerLimits(own=one, models={"m": one}))
    found = [subject for subject, _ in owners.subjects("m", "alice")]
    assert found == [
        "key:web", "key:web/model:m", "team:search", "team:search/model:m", "user:search/alice",
        "model:m", "all",
    ]  # fmt: skip
    assert list(map(words_of, found)) == [
        "This key", "This key, for the model 'm',",
        "The team 'search'", "The team 'search', for the model 'm',",
        "The end user 'alice'", "The model 'm'", "The gateway",
    ]  # fmt: skip
    assert "user:search/alice" not in [subject for subject, _ in owners.subjects("m", "")]
