"""Accounts: known runs of calls, and the laws of reservations, settlements and windows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st

from flask_gateway.guards.account_changes import (
    MAX_ROWS,
    NO_LIMIT,
    TTL,
    Open,
    PerWindow,
    Renew,
    Reservation,
    Reserve,
    ReserveResult,
    Settle,
    Settlement,
)
from flask_gateway.state.memory import MemoryStore
from flask_gateway.state.store import SECOND, Change, Value

Answer = TypeVar("Answer")

#: 2026-11-26 and 2026-11-27 00:00 UTC, the Monday and the first of the month before.
DAY, NEXT = 1795651200, 1795737600
STARTS: PerWindow = (DAY, 1795392000, 1793491200, 0)
WALL = DAY + 1000.0


def limited(day: int) -> PerWindow:
    return (day, NO_LIMIT, NO_LIMIT, NO_LIMIT)


class Book:
    """One account, and the clocks."""

    def __init__(self, base: int = 0) -> None:
        self.now = 10**12
        self.wall = WALL
        self.starts = STARTS
        self.value: Value | None = None
        self.open(base)

    def do(self, change: Change[Answer]) -> Answer:
        self.value, answer = change(self.value, self.now)
        return answer

    def open(self, base: int = 0) -> bool:
        return self.do(Open(77, self.starts, (base,) * 4, self.wall))

    def reserve(self, limit: int, amount: int, holder: int = 1) -> Reservation:
        return self.do(Reserve(holder, self.starts, limited(limit), amount, self.wall))

    def settle(self, epoch: int, held: int, cost: int, holder: int = 1) -> Settlement:
        return self.do(Settle(holder, epoch, held, cost, self.starts, self.wall))


def test_six_calls_at_once_under_a_budget_for_five() -> None:
    book = Book()
    answers = [book.reserve(10_000_000, 2_000_000) for _ in range(6)]
    assert [answer.left for answer in answers] == [8_000_000, 6_000_000, 4_000_000, 2_000_000, 0, 0]
    assert [answer.result for answer in answers] == [ReserveResult.RESERVED] * 5 + [ReserveResult.REFUSED]
    for answer in answers[:5]:
        settlement = book.settle(answer.epoch, 2_000_000, 1_390_000)
    assert settlement.windows[0] == (DAY, 4 * 1_390_000, 5 * 1_390_000)
    assert book.value is not None
    assert book.value[13:] == ()  # nothing is held
    assert book.reserve(10_000_000, 2_000_000).left == 1_050_000
    eighth = book.reserve(10_000_000, 2_000_000)
    assert (eighth.result, eighth.window, eighth.left) == (ReserveResult.REFUSED, 0, 1_050_000)


def test_a_limit_is_in_the_call_and_not_in_the_account() -> None:
    book = Book(base=7_900_000)
    assert book.settle(0, 0, 1_390_000).windows[0][1:] == (7_900_000, 9_290_000)
    assert book.reserve(9_000_000, 1) == Reservation(ReserveResult.REFUSED, 0, 0, 0)
    assert book.reserve(20_000_000, 1).result is ReserveResult.RESERVED
    assert book.settle(0, 0, -5_000_000).windows[0][2] == 4_290_000


def test_money_counts_in_the_window_of_its_settlement() -> None:
    book = Book()
    held = book.reserve(10_000_000, 2_000_000)
    book.wall, book.starts = NEXT + 1.0, (NEXT, *STARTS[1:])
    assert book.settle(held.epoch, 2_000_000, 1_390_000).windows[0] == (NEXT, 0, 1_390_000)
    book.wall, book.starts = NEXT - 4.0, STARTS  # the clock is set back by 5 s
    held = book.reserve(10_000_000, 2_000_000)
    assert book.settle(held.epoch, 2_000_000, 1_000_000).windows[0] == (NEXT, 1_390_000, 2_390_000)


def test_an_account_of_a_clock_that_was_a_year_ahead_is_not_there() -> None:
    book = Book()
    ahead = 365 * 86400
    book.wall, book.starts = WALL + ahead, (DAY + ahead, STARTS[1] + ahead, STARTS[2] + ahead, 0)
    assert book.open(base=0)
    book.settle(0, 0, 5)
    book.wall, book.starts = WALL, STARTS
    assert book.settle(0, 0, 1).mark == 0
    assert book.reserve(10, 1).result is ReserveResult.CLOSED
    assert book.open(base=3)
    assert book.reserve(10, 1).left == 6


def test_an_account_of_a_clock_that_was_a_year_behind_is_not_there() -> None:
    book = Book()
    behind = 365 * 86400
    book.wall, book.starts = WALL - behind, (DAY - behind, STARTS[1] - behind, STARTS[2] - behind, 0)
    assert book.open(base=0)
    book.settle(0, 0, 5)
    book.wall, book.starts = WALL, STARTS
    assert book.settle(0, 0, 1).mark == 0
    assert book.reserve(10, 1).result is ReserveResult.CLOSED
    assert book.open(base=3)
    assert book.reserve(10, 1).left == 6


def test_holds_of_a_process_that_does_not_renew_them_run_out() -> None:
    book = Book()
    held = book.reserve(10, 10, holder=1)
    assert book.reserve(10, 1, holder=2).result is ReserveResult.REFUSED
    book.now += 9 * SECOND
    assert book.do(Renew(1, held.epoch, 10, book.wall))
    book.now += 9 * SECOND
    assert book.reserve(10, 1, holder=2).result is ReserveResult.REFUSED
    book.now += 2 * SECOND
    assert book.reserve(10, 1, holder=2).result is ReserveResult.RESERVED
    assert book.do(Renew(1, held.epoch, 10, book.wall))  # the row comes back: the process was only slow
    assert book.reserve(10, 1, holder=2).result is ReserveResult.REFUSED


def test_a_process_that_ended_holds_nothing() -> None:
    book = Book()
    book.reserve(10, 10, holder=1)
    change = Reserve(2, STARTS, limited(10), 10, book.wall, ended=frozenset({1}))
    assert book.do(change).result is ReserveResult.RESERVED


def test_an_account_has_at_most_300_numbers() -> None:
    book = Book()
    answers = [book.reserve(10**6, 1, holder=holder) for holder in range(1, MAX_ROWS + 2)]
    assert [answer.result for answer in answers] == [ReserveResult.RESERVED] * MAX_ROWS + [
        ReserveResult.REFUSED
    ]
    assert book.value is not None
    assert len(book.value) <= 300


def test_a_worker_alone_has_its_share_of_what_was_left() -> None:
    book = Book(base=4_000_000)
    change = Reserve(1, STARTS, limited(10_000_000), 3_000_001, book.wall).divided(2)
    assert book.do(change) == Reservation(ReserveResult.REFUSED, 0, 0, 3_000_000)
    change = Reserve(1, STARTS, limited(10_000_000), 3_000_000, book.wall).divided(2)
    assert book.do(change).result is ReserveResult.RESERVED


def test_threads_admit_exactly_what_the_budget_allows() -> None:
    for amount, admitted in ((10_000_000, 100), (7_000_000, 142)):
        store, count = MemoryStore(), []
        store.update("money:key:a", Open(1, STARTS, (0,) * 4, WALL), TTL)

        def work(store: MemoryStore = store, amount: int = amount, count: list[int] = count) -> None:
            for _ in range(60):
                change = Reserve(1, STARTS, limited(10**9), amount, WALL)
                answer = store.update("money:key:a", change, TTL)
                if answer.result is ReserveResult.RESERVED:
                    settle = Settle(1, answer.epoch, amount, amount, STARTS, WALL)
                    store.update("money:key:a", settle, TTL)
                    count.append(amount)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(count) == admitted
        value = store.read("money:key:a")
        assert value is not None
        assert value[3] == admitted * amount


#: A step of a run: what to do, an amount, and seconds that pass.
steps = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "settle", "settle", "post", "renew", "open", "expire"]),
        st.integers(0, 400),
        st.integers(0, 40_000),
    ),
    max_size=80,
)


def starts_of(wall: float) -> PerWindow:
    day = int(wall) // 86400 * 86400
    return (day, day - day % (7 * 86400), day - day % (30 * 86400), 0)


@given(steps, st.tuples(*[st.sampled_from([NO_LIMIT, 500, 1000])] * 4), st.integers(1, 3))
def test_used_and_held_stay_within_every_budget_and_nothing_is_lost(  # noqa: C901  one run of all verbs
    run: list[tuple[str, int, int]], limits: PerWindow, holders: int
) -> None:
    value: Value | None = None
    now, wall = 10**12, float(DAY)
    books: list[tuple[float, int]] = []  # the ledger: moment and cost of every settlement
    calls: list[tuple[int, int, int]] = []

    def used(at: int) -> int:
        return sum(cost for moment, cost in books if starts_of(moment)[at] == starts_of(wall)[at])

    for number, (what, amount, pause) in enumerate(run):
        now, wall = now + 1 + pause * 10, wall + pause
        starts = starts_of(wall)
        if value is not None and wall - value[1] > 2 * 86400:
            value = None  # it ran out after an hour
        before = value
        if what == "open" or value is None:
            bases = tuple(used(at) for at in range(4))
            value, opened = Open(number + 1, starts, bases, wall)(value, now)
            assert opened == (before is None)
        elif what == "reserve":
            value, answer = Reserve(1 + number % holders, starts, limits, amount, wall)(value, now)
            if answer.result is ReserveResult.RESERVED:
                calls.append((1 + number % holders, answer.epoch, amount))
                held = sum(value[15::4]) if value else 0
                for at, limit in enumerate(limits):
                    assert limit == NO_LIMIT or used(at) + held <= limit
            else:
                assert value is before
        elif what == "settle" and calls:
            holder, epoch, held = calls.pop(0)
            cost = min(amount, held)
            value, settled = Settle(holder, epoch, held, cost, starts, wall)(value, now)
            books.append((wall, cost))
            assert [row[2] for row in settled.windows] == [used(at) for at in range(4)]
        elif what == "post":
            value, settled = Settle(0, 0, 0, amount, starts, wall)(value, now)
            books.append((wall, amount))
            assert settled.mark == (value or (0,))[0]
        elif what == "renew" and calls:
            rows: dict[tuple[int, int], int] = {}
            for holder, epoch, held in calls:
                rows[holder, epoch] = rows.get((holder, epoch), 0) + held
            for (holder, epoch), held in rows.items():
                value = Renew(holder, epoch, held, wall)(value, now)[0]
        assert value is not None
        assert max(value) < 2**53
        assert len(value) <= 300
    for holder, epoch, held in calls:
        value = Settle(holder, epoch, held, 0, starts_of(wall), wall)(value, now)[0]
    assert value is None or sum(value[15::4]) == 0


def test_changes_are_pure() -> None:
    changes: list[Callable[[Value | None, int], object]] = [
        Open(1, STARTS, (0,) * 4, WALL),
        Reserve(1, STARTS, limited(10), 5, WALL),
        Settle(1, 5, 5, 3, STARTS, WALL),
        Renew(1, 5, 5, WALL),
    ]
    value = (9, *(n for start in STARTS for n in (start, 1, 2)), 1, 5, 5, 10**12 + 5)
    for change in changes:
        assert change(value, 10**12) == change(value, 10**12)
        assert change(None, 10**12) == change(None, 10**12)
