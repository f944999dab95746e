"""Accounts of a busy process: few calls change the store, and the bookkeeper settles what they cost.

The limits stay as exact as they are for other processes, and a death at any moment costs nobody anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.examples import examples
from kit.ledger_lines import CALENDAR, NOW

from flask_gateway.guards.account_changes import NO_LIMIT, Settlement
from flask_gateway.guards.account_posting import AccountPosting
from flask_gateway.guards.accounts import Accounts
from flask_gateway.guards.allotments import BUSY, LASTS, ROOM
from flask_gateway.guards.openings import CURRENT, account_key
from flask_gateway.ledger.balances import LedgerBalances
from flask_gateway.ledger.bookkeeper import Bookkeeper
from flask_gateway.ledger.journal import Journal
from flask_gateway.ledger.lines import Opened, Settled, encode
from flask_gateway.model.spend import Applied, Hold
from flask_gateway.reactor.while_any import WhileAny
from flask_gateway.state.memory import MemoryStore
from flask_gateway.state.shared_memory import Memory, SharedStore
from flask_gateway.state.store import Store

KEY = "key:web"
PLENTY = 10**12
NOON = NOW + 43_200


class Machine:
    """A worker with its journal, and the bookkeeper, whose turns a test makes."""

    def __init__(self, data: Path, store: Store | None = None) -> None:
        (data / "journal").mkdir(exist_ok=True)
        self.data, self.now, self.at = data, float(NOON), 1000.0
        self.store = store or SharedStore(Memory())
        self.balances = LedgerBalances(data)
        self.accounts = self.worker()
        self.journal = Journal(data / "journal")
        self.spent = 0
        self.crossed: list[Settlement] = []
        self.keeper = self.bookkeeper()
        self.keeper.turn()

    def worker(self) -> Accounts:
        made = Accounts(self.store, self.balances, CALENDAR, lambda: self.now, patience=0.0)
        made._keeper.start = lambda: None  # type: ignore[method-assign]
        made.allotments.clock = lambda: self.at
        return made

    def bookkeeper(self) -> Bookkeeper:
        posting = AccountPosting(self.accounts)
        posting.watch = lambda line, subject, settlement: self.crossed.append(settlement)
        return Bookkeeper(self.data, CALENDAR, lambda: self.now, posting)

    def admit(self, amount: int, limit: int = PLENTY) -> Hold | None:
        return self.accounts.reserve(KEY, (limit, *(NO_LIMIT,) * 3), amount, strict=False).hold

    def call(self, amount: int = 10, cost: int = 7, limit: int = PLENTY) -> bool:
        """A whole call. Return whether the bookkeeper settles it."""
        hold = self.admit(amount, limit)
        assert hold is not None
        self.spent += cost
        n = self.journal.number()
        self.journal.write(Opened(n=n, id=f"r{n}", at=self.now, key="web", holds=(hold,)))
        deferred = self.accounts.defer(hold)
        applied = () if deferred else (Applied(KEY, self.accounts.settle(hold, cost).mark),)
        held = (hold,) if deferred else ()
        line = Settled(n=n, id=f"r{n}", at=self.now, key="web", cost=cost, applied=applied, held=held)
        self.journal.write(line)
        return deferred

    def get_busy(self) -> None:
        for _ in range(BUSY + 1):
            self.call()

    def account(self) -> tuple[int, int]:
        """The costs of today, and the amount that is held."""
        value = self.store.read(account_key(KEY))
        assert value is not None
        return value[2] + value[3], sum(value[15::4])

    def quiet(self) -> None:
        """Let the allotments end."""
        self.at += LASTS
        self.accounts.allotments.end_old()

    def close(self) -> None:
        self.journal.close()
        self.keeper.close()
        self.balances.close()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    monkeypatch.setattr(WhileAny, "start", lambda self: None)
    made = Machine(tmp_path)
    yield made
    made.close()


def test_calls_of_a_busy_process_leave_the_store_alone(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.get_busy()
    before = machine.store.read(account_key(KEY))
    with monkeypatch.context() as patch:
        patch.setattr(machine.store, "update", lambda *args, **named: pytest.fail("an update"))
        assert all(machine.call() for _ in range(20))
    assert machine.store.read(account_key(KEY)) == before


def test_the_bookkeeper_counts_the_costs_and_releases_the_holds(machine: Machine) -> None:
    machine.get_busy()
    for _ in range(20):
        machine.call()
    machine.keeper.turn()
    used, held = machine.account()
    assert used == machine.spent == machine.balances.used(KEY, CALENDAR.starts(NOON))[0]
    assert held > 0  # the allotment
    machine.quiet()
    assert machine.account() == (machine.spent, 0)
    assert machine.accounts._held == {}


def test_the_bookkeepers_settlements_follow_on_each_other_so_each_alert_comes_once(machine: Machine) -> None:
    for _ in range(3):
        machine.get_busy()
        machine.keeper.turn()
        machine.quiet()
    ends = [settlement.windows[0][1:] for settlement in machine.crossed]
    assert len(ends) > 1
    assert all(before < after for before, after in ends)
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(ends))


def test_near_the_end_of_a_budget_every_call_asks_the_store(machine: Machine) -> None:
    limit = (ROOM - 1) * 10
    assert not any(machine.call(10, 10, limit) for _ in range(3 * BUSY))
    assert machine.account() == (machine.spent, 0)
    left = limit - machine.spent
    holds = [machine.admit(left // 20, limit) for _ in range(21)]
    assert sum(hold is not None for hold in holds) == 20


def test_a_limit_that_is_lowered_is_in_force_with_the_next_call(machine: Machine) -> None:
    machine.get_busy()
    assert machine.admit(10, limit=machine.spent) is None


def test_another_process_finds_the_rest_without_the_allotment(machine: Machine) -> None:
    machine.get_busy()
    machine.keeper.turn()
    used, held = machine.account()
    other = machine.worker()
    limits = (used + held + 5, *(NO_LIMIT,) * 3)
    assert other.reserve(KEY, limits, 6, strict=False).hold is None
    assert other.reserve(KEY, limits, 5, strict=False).hold is not None


def test_a_strict_budget_asks_the_store_each_time(machine: Machine) -> None:
    for _ in range(3 * BUSY):
        hold = machine.accounts.reserve(KEY, (PLENTY, *(NO_LIMIT,) * 3), 10, strict=True).hold
        assert hold is not None
        assert not machine.accounts.defer(hold)
    assert machine.account() == (0, 30 * BUSY)


def _a_late_bookkeeper(machine: Machine) -> None:
    machine.store.update(CURRENT, lambda old, now: ((now - 3_000_000,), None), 60)


def _no_bookkeeper(machine: Machine) -> None:
    machine.store.update(CURRENT, lambda old, now: (None, None), 60)


def _midnight(machine: Machine) -> None:
    machine.now = CALENDAR.starts(NOON).day + 86_400 - 1.0


def _set_back(machine: Machine) -> None:
    machine.now = CALENDAR.starts(NOON).day - 5.0


@pytest.mark.parametrize("when", [_a_late_bookkeeper, _no_bookkeeper, _midnight, _set_back])
def test_costs_are_settled_at_once_where_the_bookkeeper_could_miss_their_window(
    machine: Machine, when: Callable[[Machine], None]
) -> None:
    machine.call()
    when(machine)
    for _ in range(3 * BUSY):
        hold = machine.admit(10)
        assert hold is not None
        assert not machine.accounts.defer(hold)
        machine.accounts.settle(hold, 0)


def test_without_a_shared_store_costs_are_settled_at_once(tmp_path: Path) -> None:
    machine = Machine(tmp_path, MemoryStore())
    assert not any(machine.call() for _ in range(3 * BUSY))
    machine.close()


def test_a_dead_workers_line_is_settled_and_its_open_call_lost(machine: Machine) -> None:
    machine.get_busy()
    hold = machine.admit(10)
    assert hold is not None
    machine.journal.write(Opened(n=999, id="open", at=machine.now, key="web", holds=(hold,)))
    machine.journal.close()  # as the kernel does
    machine.keeper.turn()
    assert machine.account()[0] == machine.spent + 10
    machine.quiet()  # the row of the dead process runs out; here it gives the rest back
    assert machine.account() == (machine.spent + 10, 0)


def test_a_bookkeeper_that_dies_before_the_database_has_the_lines_posts_once(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.get_busy()
    with monkeypatch.context() as patch:
        patch.setattr("flask_gateway.ledger.database.insert", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            machine.keeper.turn()
    machine.keeper.close()
    machine.keeper = machine.bookkeeper()
    machine.keeper.turn()
    machine.quiet()
    assert machine.account() == (machine.spent, 0)
    assert machine.balances.used(KEY, CALENDAR.starts(NOON))[0] == machine.spent


def test_a_line_that_cannot_be_kept_is_settled(machine: Machine) -> None:
    machine.get_busy()
    machine.keeper.turn()
    hold = machine.admit(10)
    assert hold is not None
    assert machine.accounts.defer(hold)
    line = Settled(n=999, id="r", at=machine.now, key="web", cost=9, held=(hold,))
    AccountPosting(machine.accounts).dropped(encode(line))
    machine.quiet()
    assert machine.account() == (machine.spent + 9, 0)


_steps = st.lists(
    st.one_of(
        st.tuples(st.just("calls"), st.integers(1, 40)),
        st.tuples(st.just("turn"), st.just(0)),
        st.tuples(st.just("quiet"), st.just(0)),
        st.tuples(st.just("lose"), st.just(0)),
        st.tuples(st.just("open"), st.integers(1, 5)),
    ),
    max_size=15,
)


@settings(max_examples=examples(20, 1000), deadline=None)
@given(_steps)
def test_laws_of_a_busy_process(steps: list[tuple[str, int]]) -> None:
    """Laws 2 and 9: the account has what the ledger has, and holds nothing when all calls are over."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(WhileAny, "start", lambda self: None)
        machine, held = Machine(Path(folder)), []
        for what, count in steps:
            if what == "calls":
                for _ in range(count):
                    machine.call(cost=count)
            elif what == "turn":
                machine.keeper.turn()
            elif what == "quiet":
                machine.quiet()
            elif what == "lose":
                machine.store.update(account_key(KEY), lambda old, now: (None, None), 60)
            else:
                held += [hold for hold in (machine.admit(10) for _ in range(count)) if hold is not None]
        machine.keeper.turn()
        machine.call()
        for hold in held:
            machine.accounts.settle(hold, 0)
        machine.keeper.turn()
        machine.quiet()
        # An account that was lost, and that no call has asked the store for since, is opened from the ledger.
        view, known = machine.accounts.view(KEY), machine.balances.used(KEY, CALENDAR.starts(NOON))[0]
        machine.close()
    assert (view.used[0], view.held) == (known, 0)
    assert known == machine.spent
