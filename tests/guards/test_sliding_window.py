"""Tests the window of requests: exact, and small whatever the limit."""

from __future__ import annotations

from bisect import bisect_right

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.examples import examples

from flask_gateway.guards.sliding_window import BUCKETS, Acquire
from flask_gateway.state.contract import encode
from flask_gateway.state.store import SECOND

WINDOW = 60 * SECOND


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
