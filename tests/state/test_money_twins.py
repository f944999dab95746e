"""Tests that accounts, token logs and turns change alike in Python and in Lua, in a real Redis: law 4."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.examples import examples
from kit.stores import RedisServer

from flask_gateway.guards.account_changes import MAX_ROWS, NO_LIMIT, Open, Renew, Reserve, Settle
from flask_gateway.guards.leases import MAX_ROWS as MAX_LEASES
from flask_gateway.guards.leases import RenewLease
from flask_gateway.guards.sliding_window import Acquire, GiveBack
from flask_gateway.guards.token_window import GRAINS, CorrectTokens, GiveBackTokens, ReserveTokens
from flask_gateway.routing.load_balancing import NextTurn
from flask_gateway.state.contract import MAX_INTS, decode, encode
from flask_gateway.state.redis import PREFIX, RedisStore
from flask_gateway.state.redis_scripts import twin_of
from flask_gateway.state.store import SECOND, Value

NAME = PREFIX + b"money:key:web"
#: Epoch seconds.
WALL = 1_795_651_200.25
DAY, WINDOW = 86_400, 60 * SECOND
GRAIN = -(-WINDOW // GRAINS)
#: A million US dollars, nano-dollars: the largest budget.
MOST = 10**15


@pytest.fixture(scope="module")
def store() -> Iterator[RedisStore]:
    with RedisServer() as server:
        store = RedisStore(f"{server.url}?socket_timeout=10&socket_connect_timeout=10")
        yield store
        store.close()


def assert_alike(store: RedisStore, old: Value | None, change: Any) -> None:
    """Redis and Python make the same value and the same answer of one value, at the same moment."""
    store._call("DEL", NAME)
    if old is not None:
        store._call("SET", NAME, encode(old))
    now, *numbers = store._run(twin_of(change.script), NAME, 120_000, *change.arguments)
    raw = store._call("GET", NAME)
    new, answer = change(old, now)
    assert change.answer(tuple(numbers)) == answer
    assert (None if raw is None else decode(raw)) == new
    assert new is None or (len(new) <= MAX_INTS and all(abs(number) < 2**53 for number in new))


_amounts = st.one_of(st.integers(0, 1000), st.integers(0, MOST))
_starts = st.tuples(
    *[st.sampled_from([int(WALL) + days * DAY for days in (-4, -2, -1, 0, 1, 2)])] * 3, st.just(0)
)
_holders = st.one_of(st.integers(1, 4), st.integers(2**51, 2**52))
_rows = st.lists(
    st.tuples(_holders, st.integers(1, 3), _amounts, st.integers(-2, 12)),
    max_size=6,
    unique_by=lambda r: r[0],
)


@st.composite
def accounts(draw: st.DrawFn, began: int) -> Value | None:
    if draw(st.integers(0, 9)) == 0:
        return None
    windows = [
        number
        for start in draw(_starts)
        for number in (start, draw(st.integers(-MOST, MOST)), draw(_amounts))
    ]
    rows = draw(_rows)
    if draw(st.booleans()) and draw(st.booleans()):
        rows = [(number, 1, 5, 5) for number in range(10, 10 + MAX_ROWS - 1 + draw(st.integers(0, 1)))]
    flat = [n for holder, epoch, held, left in rows for n in (holder, epoch, held, began + left * SECOND)]
    return (draw(st.integers(1, 2**52)), *windows, *flat)


_limits = st.tuples(*[st.one_of(st.just(NO_LIMIT), _amounts)] * 4)
_changes = st.one_of(
    st.builds(Open, st.integers(1, 2**52), _starts, st.tuples(*[_amounts] * 4), st.just(WALL)),
    st.builds(Reserve, _holders, _starts, _limits, _amounts, st.just(WALL)),
    st.builds(
        Settle, _holders, st.integers(0, 3), _amounts, st.integers(-MOST, MOST), _starts, st.just(WALL)
    ),
    st.builds(Renew, _holders, st.integers(1, 3), _amounts, st.just(WALL), _starts),
)


@settings(max_examples=examples(150, 2000), deadline=None)
@given(data=st.data(), change=_changes)
def test_lua_and_python_change_any_account_alike(
    store: RedisStore, data: st.DataObject, change: Open | Reserve | Settle | Renew
) -> None:
    assert_alike(store, data.draw(accounts(store.now())), change)


_returns = st.lists(st.tuples(st.integers(-3, GRAINS + 3), st.integers(1, 500)), max_size=3)


@settings(max_examples=examples(150, 2000), deadline=None)
@given(
    tokens=st.lists(st.integers(0, 400), max_size=GRAINS + 1),
    age=st.one_of(st.integers(-1, GRAINS + 3), st.integers(-300, -3)),
    returns=_returns,
    kind=st.integers(0, 3),
    limit=st.integers(1, 20_000),
    amount=st.integers(0, 20_000),
)
def test_lua_and_python_change_any_token_log_alike(
    store: RedisStore,
    tokens: list[int],
    age: int,
    returns: list[tuple[int, int]],
    kind: int,
    limit: int,
    amount: int,
) -> None:
    newest = (store.now() // GRAIN + 1 - age) * GRAIN
    back = tuple((newest - grains * GRAIN, number) for grains, number in returns)
    change = (
        ReserveTokens(limit, WINDOW, amount, back),
        CorrectTokens(WINDOW, back[0][0] if back else newest, limit, amount),
        GiveBackTokens(WINDOW, back or ((newest, 1),)),
        CorrectTokens(WINDOW, newest, amount, amount),
    )[kind]
    assert_alike(store, (newest, *tokens) if tokens else None, change)


@settings(max_examples=examples(60, 500), deadline=None)
@given(
    ages=st.lists(st.tuples(st.integers(-WINDOW, 2 * WINDOW), st.integers(1, 3)), max_size=20),
    limit=st.one_of(st.integers(1, 30), st.integers(129, 2000)),
    which=st.integers(0, 20),
)
def test_lua_and_python_give_back_a_request_alike(
    store: RedisStore, ages: list[tuple[int, int]], limit: int, which: int
) -> None:
    began = store.now()
    log = tuple(number for age, count in sorted(ages, reverse=True) for number in (began - age, count))
    stamps = (log[2 * which] if 2 * which < len(log) else began, began - 7)
    assert_alike(store, log or None, GiveBack(Acquire(limit, WINDOW), stamps))


@settings(max_examples=examples(40, 300), deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(-2, 12)), max_size=MAX_LEASES),
    change=st.builds(RenewLease, st.integers(1, 90), st.integers(1, 3), st.integers(1, 3)),
)
def test_lua_and_python_renew_any_lease_alike(
    store: RedisStore, rows: list[tuple[int, int, int]], change: RenewLease
) -> None:
    began = store.now()
    old = [
        n
        for holder, (epoch, taken, left) in enumerate(rows, 1)
        for n in (holder, epoch, taken, began + left * SECOND + 500_000)
    ]
    assert_alike(store, tuple(old) or None, change)


@pytest.mark.parametrize("turn", [None, (0,), (7,), (2**53 - 1,)])
def test_lua_and_python_take_the_same_turn(store: RedisStore, turn: Value | None) -> None:
    assert_alike(store, turn, NextTurn())
