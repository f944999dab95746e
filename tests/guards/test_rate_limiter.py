"""Tests the rate limiter: it never admits too many requests, hardly too few, and its log stays small."""

from __future__ import annotations

import pytest
from kit.calls import make_call
from kit.stores import HandClock

from flask_gateway.guards.rate_limiter import RateLimiter, duration
from flask_gateway.guards.sliding_window import Acquire
from flask_gateway.model.call import Caller
from flask_gateway.model.errors import RateLimited
from flask_gateway.state.memory import MemoryStore
from flask_gateway.state.store import SECOND

WINDOW = 60 * SECOND


def take(limiter: RateLimiter, limit: int = 3) -> dict[str, str]:
    return dict(limiter.admit(make_call(caller=Caller("team-a", limit))).headers)


def test_a_request_over_the_limit_is_refused_and_not_counted(store: MemoryStore, clock: HandClock) -> None:
    limiter = RateLimiter(store)
    for _ in range(3):
        take(limiter)
        clock.advance(10)
    before = list(store.scan("limit:"))
    for _ in range(5):
        with pytest.raises(RateLimited) as caught:
            take(limiter)
    assert list(store.scan("limit:")) == before
    assert caught.value.retry_after == 30  # the first was 30 s ago
    assert caught.value.headers["x-ratelimit-remaining-requests"] == "0"
    clock.advance(30)
    take(limiter)


def test_the_window_slides(store: MemoryStore, clock: HandClock) -> None:
    """A fixed window would admit twice the limit around its edge."""
    limiter = RateLimiter(store)
    clock.advance(59)
    for _ in range(3):
        take(limiter)
    clock.advance(2)
    with pytest.raises(RateLimited):
        take(limiter)
    clock.advance(58)
    take(limiter)


def test_callers_do_not_share(store: MemoryStore) -> None:
    limiter = RateLimiter(store)
    limiter.admit(make_call(caller=Caller("a", 1)))
    limiter.admit(make_call(caller=Caller("b", 1)))


def test_no_limit_leaves_no_trace(store: MemoryStore) -> None:
    limiter = RateLimiter(store)
    assert take(limiter, 0) == {}
    assert limiter.headers(Caller("team-a", 0)) == {}
    assert list(store.scan("")) == []


def test_a_peek_uses_no_quota(store: MemoryStore) -> None:
    limiter = RateLimiter(store)
    take(limiter)
    for _ in range(5):
        assert limiter.headers(Caller("team-a", 3))["x-ratelimit-remaining-requests"] == "2"


def test_headers_show_the_quota(store: MemoryStore, clock: HandClock) -> None:
    limiter = RateLimiter(store)
    take(limiter)
    clock.advance(15)
    assert take(limiter) == {
        "x-ratelimit-limit-requests": "3",
        "x-ratelimit-remaining-requests": "1",
        "x-ratelimit-reset-requests": "1m0s",
    }


def test_an_unused_window_expires(store: MemoryStore, clock: HandClock) -> None:
    take(RateLimiter(store))
    clock.advance(121)
    assert list(store.scan("")) == []


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, "0s"),
        (1, "1ms"),
        (120_000, "120ms"),
        (1_000_000, "1s"),
        (8_640_000, "8.64s"),
        (59_999_500, "1m0s"),
        (60_000_000, "1m0s"),
        (366_500_000, "6m6.5s"),
    ],
)
def test_durations_are_written_as_openai_does(micros: int, text: str) -> None:
    assert duration(micros) == text


def test_a_share_is_at_least_one() -> None:
    assert Acquire(10, WINDOW).divided(3).limit == 3
    assert Acquire(1, WINDOW).divided(3).limit == 1
