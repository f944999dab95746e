"""Accounts as a process uses them: opening, holds that are renewed, threads, processes, the ledger away."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.examples import examples
from kit.stores import HandClock

from flask_gateway.guards.account_changes import NO_LIMIT, TTL, UNVERIFIED, PerWindow, ReserveResult
from flask_gateway.guards.accounts import Accounts, Held
from flask_gateway.guards.openings import CURRENT, account_key
from flask_gateway.model.calendar_windows import Calendar
from flask_gateway.model.spend import BooksUnknown, Hold
from flask_gateway.state.contract import StoreError
from flask_gateway.state.fallback import FallbackStore
from flask_gateway.state.memory import MemoryStore
from flask_gateway.state.shared_memory import Memory, SharedStore
from flask_gateway.state.store import Store

DAY, NEXT = 1795651200, 1795737600  # 2026-11-26 and -27, 00:00 UTC
KEY = "key:web"


class Ledger:
    """The sums of all subjects; ``None``: they cannot be read."""

    def __init__(self, used: int | None = 0) -> None:
        self.now: int | None = used
        self.reads = 0
        self.between: Callable[[], None] = lambda: None

    def used(self, subject: str, starts: PerWindow) -> PerWindow:
        self.reads += 1
        if self.now is None:
            raise BooksUnknown("away")
        found = self.now
        self.between()
        return found, found, found, found


class Wall:
    def __init__(self) -> None:
        self.now = DAY + 1000.0

    def __call__(self) -> float:
        return self.now


def limited(day: int) -> PerWindow:
    return day, NO_LIMIT, NO_LIMIT, NO_LIMIT


def accounts_of(store: Store, ledger: Ledger | None = None, wall: Wall | None = None) -> Accounts:
    made = Accounts(store, ledger or Ledger(), Calendar(), wall or Wall(), patience=0.05)
    made.now_current()
    made._keeper.start = lambda: None  # type: ignore[method-assign]  # the tests call keep() themselves
    return made


def reserve(accounts: Accounts, limit: int, amount: int, *, strict: bool = False) -> Held:
    return accounts.reserve(KEY, limited(limit), amount, strict=strict)


def hold(accounts: Accounts, limit: int, amount: int) -> Hold:
    held = reserve(accounts, limit, amount).hold
    assert held is not None
    return held


def own(store: Store) -> int:
    """Return the costs of today in the account."""
    value = store.read(account_key(KEY))
    assert value is not None
    return value[3]


def rows(store: Store) -> tuple[int, ...]:
    value = store.read(account_key(KEY))
    return value[13:] if value else ()


def test_an_account_opens_with_what_the_ledger_knows(store: MemoryStore) -> None:
    ledger = Ledger(7)
    accounts = accounts_of(store, ledger)
    assert reserve(accounts, 10, 4).hold is None
    assert reserve(accounts, 10, 3).reservation.left == 0
    assert ledger.reads == 2  # before it is opened, and for what came between; then never again


def test_costs_that_were_written_while_it_opened_are_counted_once(store: MemoryStore) -> None:
    ledger = Ledger(5)

    def written() -> None:
        ledger.now, ledger.between = 8, lambda: None

    ledger.between = written
    assert reserve(accounts_of(store, ledger), 10, 3).hold is None
    assert (own(store), reserve(accounts_of(store, ledger), 10, 2).reservation.left) == (3, 0)


def test_without_the_ledger_a_budget_begins_at_zero_and_a_strict_one_refuses(store: MemoryStore) -> None:
    ledger, told = Ledger(None), []
    accounts = Accounts(store, ledger, Calendar(), Wall(), lambda: told.append(1), patience=0.0)
    accounts.now_current()
    with pytest.raises(BooksUnknown):
        reserve(accounts, 10, 1, strict=True)
    held = hold(accounts, 10, 4)
    assert told == [1]
    assert accounts.mark(KEY) & UNVERIFIED
    with pytest.raises(BooksUnknown):  # also where another call has opened it
        reserve(accounts, 10, 1, strict=True)
    assert reserve(accounts, 10, 6).hold is not None
    ledger.now = 8
    assert accounts.forget_doubted() == 1
    assert accounts.forget_doubted() == 0
    assert accounts.settle(held, 4).mark == 0  # the bookkeeper posts it from the journal
    assert reserve(accounts, 10, 3).hold is None
    assert reserve(accounts, 10, 2, strict=True).hold is not None


def test_after_a_start_an_opening_waits_until_the_ledger_is_up_to_date(store: MemoryStore) -> None:
    accounts = Accounts(store, Ledger(9), Calendar(), Wall(), patience=30.0)
    threading.Timer(0.05, accounts.now_current).start()
    assert reserve(accounts, 10, 2).hold is None
    assert store.read(CURRENT) is not None


def test_a_ledger_that_lags_for_too_long_is_not_known(store: MemoryStore, clock: HandClock) -> None:
    accounts = accounts_of(store, Ledger(9))
    clock.advance(1801)
    with pytest.raises(BooksUnknown):
        reserve(accounts, 10, 1, strict=True)
    assert reserve(accounts, 10, 2).hold is None  # the rest is known
    assert accounts.mark(KEY) & UNVERIFIED


def test_settling_ends_the_hold_and_counts_the_cost(store: MemoryStore) -> None:
    accounts = accounts_of(store)
    held = hold(accounts, 10, 8)
    assert reserve(accounts, 10, 3).hold is None
    settlement = accounts.settle(held, 5)
    assert settlement.mark == accounts.mark(KEY) > 0
    assert settlement.windows[0][1:] == (0, 5)
    assert rows(store) == ()
    assert accounts._held == {}


def test_holds_are_renewed_and_those_of_a_dead_process_run_out(store: MemoryStore, clock: HandClock) -> None:
    living, dead = accounts_of(store), accounts_of(store)
    hold(living, 10, 4)
    hold(dead, 10, 6)
    for _ in range(4):
        clock.advance(3)
        living.keep()
    assert reserve(living, 10, 6).hold is not None
    assert reserve(living, 10, 1).hold is None


def test_a_hold_that_the_store_lost_is_restored(store: MemoryStore) -> None:
    accounts = accounts_of(store)
    hold(accounts, 10, 4)
    store.update(account_key(KEY), lambda old, now: (None, None), TTL)
    hold(accounts_of(store), 10, 1)  # another process opens the account again
    accounts.keep()
    assert reserve(accounts_of(store), 10, 6).hold is None


def test_a_call_that_ends_while_its_hold_is_renewed_leaves_none(store: MemoryStore) -> None:
    accounts = accounts_of(store)
    held, update, ended = hold(accounts, 10, 4), store.update, []

    def overtaken(key: str, change: object, ttl: float) -> object:
        if not ended:
            ended.append(True)
            accounts.settle(held, 1)
        return update(key, change, ttl)  # type: ignore[arg-type]

    store.update = overtaken  # type: ignore[assignment, method-assign]
    accounts.keep()
    assert (rows(store), own(store)) == ((), 1)


def test_an_open_call_keeps_its_account_open(store: MemoryStore, clock: HandClock) -> None:
    ledger = Ledger(0)
    accounts = accounts_of(store, ledger)
    held = hold(accounts, 10, 4)
    for _ in range(1300):  # over an hour
        clock.advance(3)
        accounts.keep()
    assert accounts.settle(held, 4).mark > 0
    clock.advance(3601)
    assert accounts.settle(held, 4).mark == 0


def test_a_forked_process_holds_nothing(store: MemoryStore) -> None:
    accounts = accounts_of(store)
    hold(accounts, 10, 4)
    child = os.fork()
    if child == 0:
        os._exit(0 if not accounts._held else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert accounts._held


@pytest.mark.parametrize(("amount", "admitted"), [(10_000_000, 100), (7_000_000, 142)])
def test_processes_and_threads_never_pass_a_dollar(amount: int, admitted: int) -> None:
    """Case 3 of the design: 4 processes of 4 threads."""
    store = SharedStore(Memory())
    accounts = accounts_of(store)
    children = []
    for _ in range(4):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            accounts._keeper.start = lambda: None  # type: ignore[method-assign]
            os.write(write, str(_admitted(accounts, amount)).encode())
            os._exit(0)
        os.close(write)
        children.append((child, read))
    counts = []
    for child, read in children:
        os.waitpid(child, 0)
        counts.append(int(os.read(read, 100)))
        os.close(read)
    assert sum(counts) == admitted
    assert (own(store), rows(store)) == (admitted * amount, ())


def _admitted(accounts: Accounts, amount: int) -> int:
    """Let 4 threads ask until they are refused 10 times each. A call costs what it holds."""
    done: list[int] = []

    def work() -> None:
        refused = 0
        while refused < 10:
            held = reserve(accounts, 10**9, amount).hold
            if held is None:
                refused += 1
            else:
                done.append(1)
                accounts.settle(held, amount)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(done)


_steps = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), st.integers(0, 1), st.integers(0, 60)),
        st.tuples(st.just("settle"), st.integers(0, 9), st.integers(0, 80)),
        st.tuples(st.just("cancel"), st.integers(0, 9), st.just(0)),
        st.tuples(st.just("keep"), st.integers(0, 1), st.just(0)),
        st.tuples(st.just("wait"), st.integers(1, 9), st.just(0)),
        st.tuples(st.just("day"), st.just(0), st.just(0)),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(_steps)
def test_laws_of_two_processes(steps: list[tuple[str, int, int]]) -> None:  # noqa: C901  one case a step
    """Laws 1 and 2: after a reservation ``used + held <= limit``; costs are conserved; holds end."""
    clock, wall, limit = HandClock(), Wall(), 100
    store = MemoryStore(clock)
    both = [accounts_of(store, Ledger(), wall) for _ in range(2)]
    open_calls: list[tuple[Accounts, Hold]] = []
    paid: dict[float, int] = {}
    for what, number, amount in steps:
        if what == "reserve":
            held = reserve(both[number], limit, amount)
            assert (held.hold is None) == (held.reservation.result is ReserveResult.REFUSED)
            if held.hold is not None:
                open_calls.append((both[number], held.hold))
                assert own(store) + sum(rows(store)[2::4]) <= limit
        elif what in ("settle", "cancel") and open_calls:
            accounts, one = open_calls.pop(number % len(open_calls))
            accounts.settle(one, amount)
            paid[wall.now // 86400] = paid.get(wall.now // 86400, 0) + amount
        elif what == "keep":
            both[number].keep()
        elif what == "wait":
            for one in both:  # the keepers run every 3 s
                one.keep()
            clock.advance(number)
            wall.now += number
        elif what == "day":
            wall.now += 86400
            both[0].post(KEY, 0)  # days at which nothing happens do not follow one another within the hour
    for accounts, one in open_calls:
        accounts.settle(one, 0)
    if store.read(account_key(KEY)) is not None:
        hold(both[0], 10**9, 0)
        assert own(store) == paid.get(wall.now // 86400, 0)
        assert sum(rows(store)[2::4]) == 0


@settings(max_examples=examples(20, 100), deadline=None)
@given(_steps)
def test_no_call_of_an_open_account_reads_the_ledger(steps: list[tuple[str, int, int]]) -> None:
    """Law 12: whatever calls do, and whatever day begins, a ledger that hangs delays openings only."""
    clock, wall, ledger = HandClock(), Wall(), Ledger()
    store = MemoryStore(clock)
    accounts = accounts_of(store, ledger, wall)
    hold(accounts, 10**9, 0)
    reads, open_calls = ledger.reads, list[Hold]()
    for what, number, amount in steps:
        if what == "reserve":
            one = reserve(accounts, 100, amount).hold
            open_calls += [one] if one is not None else []
        elif what in ("settle", "cancel") and open_calls:
            accounts.settle(open_calls.pop(number % len(open_calls)), amount)
        elif what == "keep":
            accounts.keep()
        elif what == "wait":
            accounts.keep()
            clock.advance(number)
            wall.now += number
        elif what == "day":
            wall.now += 86400
            accounts.post(KEY, 0)
        assert ledger.reads == reads


def test_calls_of_open_accounts_do_not_wait_for_the_ledger(store: MemoryStore) -> None:
    """Law 12: only an opening waits."""
    ledger, hangs = Ledger(), threading.Event()
    accounts = accounts_of(store, ledger)
    hold(accounts, 10, 1)
    ledger.between = lambda: hangs.wait(30)  # type: ignore[assignment, return-value]
    opening = threading.Thread(
        target=accounts.reserve, args=("team:a", limited(10), 1), kwargs={"strict": False}
    )
    opening.start()
    for _ in range(5):
        accounts.settle(hold(accounts, 10, 1), 1)
    assert opening.is_alive()
    hangs.set()
    opening.join()


def test_while_the_store_is_away_each_worker_has_its_share_of_the_rest(store: MemoryStore) -> None:
    class Away(MemoryStore):
        def read(self, key: str) -> None:
            raise StoreError("away")

        def update(self, key: str, change: object, ttl: float) -> None:  # type: ignore[override]
            raise StoreError("away")

    accounts = accounts_of(FallbackStore(Away(), store, share=2), Ledger(4))
    hold(accounts, 10, 3)
    assert reserve(accounts, 10, 1).hold is None


def test_an_account_can_be_seen(store: MemoryStore) -> None:
    ledger = Ledger(2)
    accounts = accounts_of(store, ledger)
    assert accounts.view(KEY) == ((2, 2, 2, 2), 0)  # by the ledger
    accounts.settle(hold(accounts, 10, 3), 1)
    hold(accounts, 10, 4)
    assert accounts.view(KEY) == ((3, 3, 3, 3), 4)
    ledger.now = None
    assert accounts.view(KEY).held == 4
    with pytest.raises(BooksUnknown):
        accounts.view("team:a")
