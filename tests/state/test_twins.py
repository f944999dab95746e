"""Tests that the guards' Lua versions do the same as the Python, in a real Redis."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.examples import examples
from kit.stores import RedisServer

from flask_gateway.guards.leases import MAX_ROWS, AcquireLease, ReleaseLease
from flask_gateway.guards.sliding_window import BUCKETS, Acquire
from flask_gateway.state.contract import decode, encode
from flask_gateway.state.redis import PREFIX, RedisStore
from flask_gateway.state.redis_scripts import twin_of
from flask_gateway.state.store import SECOND

WINDOW = 60 * SECOND
NAME = PREFIX + b"limit:team-a"


@pytest.fixture(scope="module")
def store() -> Iterator[RedisStore]:
    with RedisServer() as server:
        # This tests decisions, not speed: a busy machine must not make it fail.
        store = RedisStore(f"{server.url}?socket_timeout=10&socket_connect_timeout=10")
        yield store
        store.close()


#: How long ago requests came, in microseconds; negative when the clock was set back since.
_ages = st.one_of(
    st.integers(0, 2 * WINDOW), st.integers(-WINDOW // BUCKETS, 0), st.integers(-3600 * SECOND, -SECOND)
)
#: Longer than any of one kind, as they become when a limit is raised; a store's values have no more.
_logs = st.one_of(
    st.lists(st.tuples(_ages, st.integers(1, 50)), max_size=BUCKETS + 2),
    st.lists(st.tuples(st.integers(0, WINDOW), st.just(1)), min_size=BUCKETS, max_size=BUCKETS + 20),
)


@settings(max_examples=examples(120, 400), deadline=None)
@given(log=_logs, limit=st.one_of(st.integers(1, 200), st.integers(200, 10_000)))
def test_lua_and_python_decide_the_same_for_any_window(
    store: RedisStore, log: list[tuple[int, int]], limit: int
) -> None:
    began = store.now()
    stamped = sorted((began - age, count) for age, count in log)
    old = tuple(number for pair in stamped for number in pair) or None
    if old is None:
        store._call("DEL", NAME)
    else:
        store._call("SET", NAME, encode(old))
    take = Acquire(limit, WINDOW)
    now, *numbers = store._run(twin_of(take.script), NAME, 120_000, *take.arguments)
    raw = store._call("GET", NAME)
    assert (None if raw is None else decode(raw), take.answer(tuple(numbers))) == take(old, now)


_rows = st.lists(
    st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 5), st.integers(-2, 12)), max_size=MAX_ROWS
)


@settings(max_examples=examples(120, 300), deadline=None)
@given(
    rows=_rows,
    full=st.booleans(),
    change=st.one_of(
        st.builds(AcquireLease, st.integers(1, 20), st.integers(1, 5)),
        st.builds(ReleaseLease, st.integers(1, 5), st.integers(1, 3), st.integers(1, 3)),
    ),
)
def test_lua_and_python_change_any_leases_alike(
    store: RedisStore, rows: list[tuple[int, int, int, int]], full: bool, change: AcquireLease | ReleaseLease
) -> None:
    began = store.now()
    one_each = {(number if full else holder): row for number, (holder, *row) in enumerate(rows, 1)}
    old = tuple(
        number
        for holder, (epoch, taken, left) in one_each.items()
        for number in (holder, epoch, taken, began + left * SECOND + 500_000)
    )
    store._call("SET", NAME, encode(old)) if old else store._call("DEL", NAME)
    now, *numbers = store._run(twin_of(change.script), NAME, 120_000, *change.arguments)
    raw = store._call("GET", NAME)
    new, answer = change(old or None, now)
    assert change.answer(tuple(numbers)) == answer
    assert (None if raw is None else decode(raw)) == new


def test_it_limits_in_one_round_trip(store: RedisStore) -> None:
    take = Acquire(3, WINDOW)
    store.update("limit:b", take, 120)  # the first call brings the script
    before = store._call("INFO", "commandstats")
    answers = [store.update("limit:b", take, 120)[0] for _ in range(5)]
    after = store._call("INFO", "commandstats")
    assert answers == [True, True, False, False, False]
    assert after["cmdstat_evalsha"]["calls"] - before["cmdstat_evalsha"]["calls"] == 5
