"""Costs that did not reach their account are posted from the journal, once, whatever fails in between."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.ledger_lines import CALENDAR, NOW

from flask_gateway.guards.account_changes import NO_LIMIT
from flask_gateway.guards.account_posting import AccountPosting
from flask_gateway.guards.accounts import Accounts
from flask_gateway.guards.openings import account_key
from flask_gateway.ledger import database
from flask_gateway.ledger.balances import LedgerBalances
from flask_gateway.ledger.bookkeeper import Bookkeeper
from flask_gateway.ledger.journal import Journal
from flask_gateway.ledger.lines import Opened, Settled
from flask_gateway.model.spend import Applied, BooksUnknown, Hold
from flask_gateway.state.memory import MemoryStore

LIMIT = (10**9, NO_LIMIT, NO_LIMIT, NO_LIMIT)
KEY = "key:web"


class Books:
    """A ledger with accounts, which a test turns by hand."""

    def __init__(self, data: Path, store: MemoryStore | None = None) -> None:
        (data / "journal").mkdir(exist_ok=True)
        self.store = store or MemoryStore()
        self.balances = LedgerBalances(data)
        self.accounts = Accounts(self.store, self.balances, CALENDAR, lambda: NOW, patience=0.0)
        self.accounts._keeper.start = lambda: None  # type: ignore[method-assign]
        self.journal = Journal(data / "journal")
        self.posting = AccountPosting(self.accounts)
        #: Each settlement that is watched: its subject, and what was used of the day before and after.
        self.watched: list[tuple[str, int, int]] = []
        self.posting.watch = lambda line, subject, made: self.watched.append((subject, *made.windows[0][1:]))
        self.keeper = Bookkeeper(data, CALENDAR, lambda: NOW, self.posting)
        self.keeper.turn()

    def call(self, cost: int, *, reaches: bool = True, number: int = 0) -> None:
        """One call of that cost, which does or does not reach its account."""
        number = number or self.journal.number()
        held = self.accounts.reserve(KEY, LIMIT, cost, strict=False).hold
        assert held is not None
        mark = self.accounts.settle(held, cost if reaches else 0).mark
        applied = (Applied(KEY, mark if reaches else 0),)
        self.journal.write(Settled(n=number, id="r", at=NOW, key="web", cost=cost, applied=applied))

    def used(self) -> int:
        value = self.store.read(account_key(KEY))
        assert value is not None
        return value[2] + value[3]

    def in_ledger(self) -> int:
        return self.balances.used(KEY, CALENDAR.starts(NOW))[0]

    def close(self) -> None:
        self.journal.close()
        self.keeper.close()
        self.balances.close()

    def lose_account(self) -> None:
        self.store.update(account_key(KEY), lambda old, now: (None, None), 60)


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    made = Books(tmp_path)
    yield made
    made.close()


def test_a_cost_that_reached_its_account_is_not_posted_again(books: Books) -> None:
    books.call(5)
    for _ in range(3):
        books.keeper.turn()
    assert (books.used(), books.in_ledger()) == (5, 5)


def test_a_cost_that_did_not_reach_its_account_is_posted(books: Books) -> None:
    books.call(5, reaches=False)
    books.call(3)
    for _ in range(3):
        books.keeper.turn()
    assert (books.used(), books.in_ledger()) == (8, 8)


def test_an_account_that_was_opened_again_gets_the_lines_that_the_ledger_had_not_yet(books: Books) -> None:
    books.call(5)
    books.lose_account()
    books.call(3)  # opens it with nothing: the line of 5 is still in the journal
    books.keeper.turn()
    assert (books.used(), books.in_ledger()) == (8, 8)
    books.lose_account()
    books.call(1)
    books.keeper.turn()
    assert (books.used(), books.in_ledger()) == (9, 9)


def test_a_database_that_refuses_for_a_while_posts_once(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    books.call(5, reaches=False)
    insert = database.insert

    def refuses(*args: object) -> None:
        raise sqlite3.OperationalError("locked")

    monkeypatch.setattr(database, "insert", refuses)
    for _ in range(5):
        with pytest.raises(sqlite3.OperationalError):
            books.keeper.turn()
    monkeypatch.setattr(database, "insert", insert)
    books.keeper.turn()
    assert (books.used(), books.in_ledger()) == (5, 5)


def test_a_dead_workers_holds_are_charged_and_released(books: Books) -> None:
    """Case 41 of the design: three calls held 2 000 000 each."""
    books.call(1)
    dead = Accounts(books.store, books.balances, CALENDAR, lambda: NOW, patience=0.0)
    dead._keeper.start = lambda: None  # type: ignore[method-assign]
    for number in (101, 102, 103):
        hold = dead.reserve(KEY, LIMIT, 2_000_000, strict=False).hold
        assert hold is not None
        books.journal.write(Opened(n=number, id="lost", at=NOW, key="web", holds=(hold,)))
    books.journal.close()
    books.keeper.turn()
    assert (books.used(), books.in_ledger()) == (6_000_001, 6_000_001)
    value = books.store.read(account_key(KEY))
    assert value is not None
    assert value[13:] == ()


def test_a_lost_call_is_settled_once_also_when_the_database_refuses(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    books.call(1)
    books.journal.write(Opened(n=9, id="lost", at=NOW, key="web", holds=(Hold(KEY, 77, 5, 40),)))
    books.journal.close()
    end = database.end_calls
    failures = iter([False, True, True])

    def refuses(*args: object) -> None:
        if next(failures, False):
            raise sqlite3.OperationalError("locked")
        end(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(database, "end_calls", refuses)
    for _ in range(2):
        with pytest.raises(sqlite3.OperationalError):
            books.keeper.turn()
    books.keeper.turn()
    assert (books.used(), books.in_ledger()) == (41, 41)


def test_a_lost_call_is_watched_where_the_store_has_lost_the_account(books: Books) -> None:
    """A restarted machine has an empty store. Alerts must not miss what only the ledger gets."""
    books.call(50)
    books.keeper.turn()
    for number in (9, 10):
        books.journal.write(Opened(n=number, id="lost", at=NOW, key="web", holds=(Hold(KEY, 77, 5, 20),)))
    books.lose_account()
    books.journal.close()
    books.keeper.turn()
    assert books.watched == [(KEY, 50, 90)]
    books.keeper.turn()
    assert len(books.watched) == 1


def test_costs_are_watched_that_end_after_the_store_has_lost_the_account(books: Books) -> None:
    books.call(50)
    books.keeper.turn()
    books.lose_account()
    books.journal.write(Settled(n=8, id="a", at=NOW, key="web", cost=20, held=(Hold(KEY, 77, 5, 20),)))
    books.journal.write(Settled(n=9, id="b", at=NOW, key="web", cost=7, applied=(Applied(KEY, 0),)))
    books.journal.write(Settled(n=10, id="c", at=NOW, key="web", cost=3, applied=(Applied(KEY, 4),)))
    balances, path = books.balances, books.balances._path
    balances._path, balances._connection = path / "missing", None
    books.keeper.turn()
    assert books.watched == []  # the sums of the ledger cannot be read now
    balances._path = path
    books.keeper.turn()
    assert books.watched == [(KEY, 53, 80)]


def test_accounts_opened_without_the_ledger_are_forgotten_when_it_is_back(books: Books) -> None:
    books.call(5)
    books.keeper.turn()
    books.lose_account()
    balances, path = books.balances, books.balances._path
    balances._path, balances._connection = path / "missing", None
    held = books.accounts.reserve(KEY, LIMIT, 3, strict=False).hold
    assert held is not None
    assert books.used() == 0
    with pytest.raises(BooksUnknown):
        books.accounts.reserve(KEY, LIMIT, 1, strict=True)
    balances._path = path
    books.keeper.turn()
    assert books.store.read(account_key(KEY)) is None
    books.call(1)
    books.keeper.turn()
    assert books.used() == 6


_runs = st.lists(
    st.one_of(
        st.tuples(st.just("call"), st.integers(1, 50), st.booleans()),
        st.tuples(st.just("turn"), st.just(0), st.just(False)),
        st.tuples(st.just("lose"), st.just(0), st.just(False)),
    ),
    max_size=20,
)


@settings(max_examples=40, deadline=None)
@given(_runs)
def test_account_and_ledger_agree(steps: list[tuple[str, int, bool]]) -> None:
    """Law 9: after the bookkeeper's turn the account has what the ledger has. All lines are turned by it."""
    with TemporaryDirectory() as folder:
        books = Books(Path(folder))
        for what, cost, reaches in steps:
            if what == "call":
                books.call(cost, reaches=reaches)
            elif what == "turn":
                books.keeper.turn()
            else:
                books.lose_account()
        books.keeper.turn()
        books.call(1)
        books.keeper.turn()
        used, known = books.used(), books.in_ledger()
        books.close()
    assert used == known == 1 + sum(cost for what, cost, _ in steps if what == "call")
