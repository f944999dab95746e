"""Tests the rate limiter: it never admits too many requests, hardly too few, and its log stays small."""

from __future__ import annotations

from bisect import bisect_right

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.calls import make_call
from kit.examples import examples
from kit.stores import HandClock

from flask_gateway.guards.rate_limiter import RateLimiter, duration
from flask_gateway.guards.sliding_window import BUCKETS, Acquire
from flask_gateway.model.call import Caller
from flask_gateway.model.errors import RateLimited
from flask_gateway.state.contract import encode
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


@pytest.mark.parametrize("limit", [1, 127, 128, 129, 1000, 1_000_000])
def test_the_log_is_small_whatever_the_limit(limit: int) -> None:
    change, log = Acquire(limit, WINDOW), None
    for now in range(0, 3 * WINDOW, WINDOW // 1000):
        log, _ = change(log, now)
        assert log is None or len(log) <= 2 * (BUCKETS + 2)


def test_a_clock_set_back_locks_nobody_out_for_longer_than_a_window() -> None:
    change, log = Acquire(3, WINDOW), None
    late = 10_000 * SECOND
    for _ in range(3):
        log, _ = change(log, late)
    hour_earlier = late - 3600 * SECOND
    for seconds in range(60):
        log, (admitted, quota) = change(log, hour_earlier + seconds * SECOND)
        assert not admitted
        assert quota.wait <= WINDOW
    assert change(log, hour_earlier + WINDOW)[1][0]


def test_a_share_is_at_least_one() -> None:
    assert Acquire(10, WINDOW).divided(3).limit == 3
    assert Acquire(1, WINDOW).divided(3).limit == 1


def since(times: list[int], begin: int) -> int:
    """How many of the ascending times are later than ``begin``."""
    return len(times) - bisect_right(times, begin)


@settings(max_examples=examples(400, 2000), deadline=None)
@given(
    limit=st.one_of(st.integers(1, 12), st.integers(129, 160)),
    gaps=st.lists(
        st.one_of(st.just(0), st.integers(1, WINDOW // 4), st.integers(WINDOW, 2 * WINDOW)), max_size=400
    ),
)
def test_never_more_than_the_limit_in_any_window(limit: int, gaps: list[int]) -> None:
    change, log, now = Acquire(limit, WINDOW), None, 5 * WINDOW
    admitted: list[int] = []
    for gap in gaps:
        now += gap
        new, (ok, quota) = change(log, now)
        in_window = since(admitted, now - WINDOW)
        if ok:
            assert in_window < limit
            admitted.append(now)
            assert quota.remaining <= limit - in_window - 1
        else:
            assert new is log
            assert 0 < quota.wait <= WINDOW + change.grain
            # Refused only when the limit was reached within a window and one grain.
            assert since(admitted, now - WINDOW - change.grain) >= limit
            after_wait, (then, _) = change(log, now + quota.wait)
            assert then, (after_wait, quota)
        log = new


def test_under_admission_is_below_one_percent_at_full_load() -> None:
    """Under constant load, a limit above the buckets admits nearly all that an exact limit would."""
    change, log, admitted = Acquire(1000, WINDOW), None, 0
    steps = 20_000
    for step in range(steps):
        log, (ok, _) = change(log, step * 10 * WINDOW // steps)
        admitted += ok
    assert 0.99 * 10_000 <= admitted <= 10_000


@settings(max_examples=300, deadline=None)
@given(
    limits=st.lists(st.sampled_from([5, 128, 129, 1000]), min_size=1, max_size=6),
    gaps=st.binary(min_size=200, max_size=400),
)
def test_a_limit_may_change_at_any_time(limits: list[int], gaps: bytes) -> None:
    """Requests counted under the old limit count under the new one, and the log stays small.

    A gap is a number of 255ths of a hundredth of the window. (Bytes are drawn faster than lists of integers.)
    """
    log, now, admitted = None, 5 * WINDOW, []
    for turn, gap in enumerate(gaps):
        now += gap * (WINDOW // 100) // 255
        limit = limits[turn * len(limits) // len(gaps)]
        log, (ok, _) = Acquire(limit, WINDOW)(log, now)
        if ok:
            assert since(admitted, now - WINDOW) < limit
            admitted.append(now)
        encode(log or ())


def test_exact_below_the_grains() -> None:
    change, log = Acquire(2, WINDOW), None
    results = []
    for now in (0, 10, WINDOW - 1, WINDOW, WINDOW + 9, WINDOW + 10):
        log, (ok, _) = change(log, now)
        results.append(ok)
    assert results == [True, True, False, True, False, True]
