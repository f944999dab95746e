"""Limits of tokens: known moments, and the laws that hold for every run of calls."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flask_gateway.guards.token_window import GRAINS, CorrectTokens, GiveBackTokens, ReserveTokens
from flask_gateway.state.store import SECOND, Value

WINDOW = 60 * SECOND
GRAIN = WINDOW // GRAINS


def at(seconds: float) -> int:
    return round(seconds * SECOND)


def test_reservations_and_corrections_at_known_moments() -> None:
    log, first = ReserveTokens(1000, WINDOW, 600)(None, at(0))
    assert (first.stamp, first.remaining) == (468_750, 400)
    same, refused = ReserveTokens(1000, WINDOW, 500)(log, at(1))
    assert (refused.stamp, refused.remaining, refused.wait) == (0, 400, at(59.46875))
    assert same is log
    log, _ = CorrectTokens(WINDOW, first.stamp, 600, 250)(log, at(2))
    assert log == (468_750, 250)
    log, second = ReserveTokens(1000, WINDOW, 500)(log, at(2))
    assert second.remaining == 250

    def left(moment: float) -> int:
        return ReserveTokens(1000, WINDOW, 1).peek(log, at(moment))[1].remaining

    assert (left(60.468749), left(60.46875)) == (250, 500)
    log, _ = CorrectTokens(WINDOW, second.stamp, 500, 800)(log, at(70))
    assert log == (70_312_500, 300)
    assert ReserveTokens(1000, WINDOW, 701)(log, at(70))[1].stamp == 0
    assert ReserveTokens(1000, WINDOW, 700)(log, at(70))[1].remaining == 0


def test_more_than_the_whole_limit_is_refused_and_no_wait_helps() -> None:
    log, _ = ReserveTokens(100, WINDOW, 50)(None, 0)
    same, refused = ReserveTokens(100, WINDOW, 101)(log, 0)
    assert (same, refused.stamp, refused.wait) == (log, 0, 0)


def test_a_clock_that_was_set_back_delays_for_one_window_at_most() -> None:
    log, _ = ReserveTokens(100, WINDOW, 100)(None, at(10_000))
    log, refused = ReserveTokens(100, WINDOW, 1)(log, at(100))
    assert refused.stamp == 0
    later, taken = ReserveTokens(100, WINDOW, 1)(log, at(100) + WINDOW + 2 * GRAIN)
    assert taken.stamp > 0
    assert later


def test_a_worker_alone_has_its_share() -> None:
    assert ReserveTokens(100, WINDOW, 30).divided(4)(None, 0)[1].stamp == 0
    assert ReserveTokens(100, WINDOW, 25).divided(4)(None, 0)[1].remaining == 0


#: A run of calls: seconds until the next, tokens reserved, tokens used, seconds until it settles.
runs = st.lists(
    st.tuples(
        st.integers(0, 20 * SECOND), st.integers(1, 600), st.integers(0, 900), st.integers(0, 90 * SECOND)
    ),
    max_size=60,
)


@given(runs)
def test_no_window_has_more_tokens_than_the_limit_and_what_settlements_added(
    run: list[tuple[int, int, int, int]],
) -> None:
    limit, log, now = 1000, None, 5 * SECOND
    admitted: list[list[int]] = []  # moment, tokens that count
    added: list[tuple[int, int]] = []
    due: list[tuple[int, int, list[int], int, int]] = []
    for pause, reserved, used, until in run:
        now += pause
        due.sort(key=lambda row: row[0])
        while due and due[0][0] <= now:
            moment, stamp, row, held, actual = due.pop(0)
            log = CorrectTokens(WINDOW, stamp, held, actual)(log, moment)[0]
            row[1] = min(held, actual)
            if actual > held:
                added.append((moment, actual - held))
        before = log
        log, quota = ReserveTokens(limit, WINDOW, reserved)(log, now)
        assert log is None or len(log) <= 300
        inside = sum(row[1] for row in admitted if row[0] > now - WINDOW)
        more = sum(tokens for moment, tokens in added if moment > now - WINDOW)
        if quota.stamp:
            assert inside + reserved <= limit
            row = [now, reserved]
            admitted.append(row)
            due.append((now + until, quota.stamp, row, reserved, used))
        else:
            assert log is before
            # Refused only if it would pass the limit, or within a grain of it.
            near = sum(row[1] for row in admitted if row[0] > now - WINDOW - GRAIN)
            near += sum(tokens for moment, tokens in added if moment > now - WINDOW - GRAIN)
            assert near + reserved > limit
        assert more >= 0


logs = st.tuples(st.integers(1, 2000), st.lists(st.integers(0, 10**6), min_size=1, max_size=131)).map(
    lambda drawn: (drawn[0] * GRAIN, drawn[1][0] + 1, *drawn[1][1:])
)


@given(st.none() | logs, st.integers(0, 2 * 10**9), st.integers(1, 10**6))
def test_a_cancelled_reservation_leaves_what_still_counted(log: Value | None, now: int, amount: int) -> None:
    reserve = ReserveTokens(10**8, WINDOW, amount)
    taken, quota = reserve(log, now)
    back, _ = CorrectTokens(WINDOW, quota.stamp, amount, 0)(taken, now)
    before, after = reserve.peek(log, now)[1], reserve.peek(back, now)[1]
    assert before.remaining == after.remaining


@given(
    logs,
    st.integers(0, 2 * 10**9),
    st.lists(st.tuples(st.integers(0, 2000).map(GRAIN.__mul__), st.integers(1, 10**6)), max_size=5),
)
def test_giving_back_with_a_reservation_is_giving_back_before_it(
    log: Value, now: int, returns: list[tuple[int, int]]
) -> None:
    one_by_one: Value | None = log
    for stamp, tokens in returns:
        one_by_one, _ = CorrectTokens(WINDOW, stamp, tokens, 0)(one_by_one, now)
    together, _ = GiveBackTokens(WINDOW, tuple(returns))(log, now)
    assert together == one_by_one or not returns
    after = ReserveTokens(10**8, WINDOW, 5)(together if returns else log, now)
    assert ReserveTokens(10**8, WINDOW, 5, tuple(returns))(log, now) == after
