"""Tests reads that a process remembers, and keys that it watches in Redis."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kit.stores import RedisServer, put
from kit.waiting import until

from flask_gateway.state import StoreError
from flask_gateway.state.recent_reads import MOST, RecentReads
from flask_gateway.state.redis import RedisStore


class Reads:
    """Some reads with a clock that stands still."""

    def __init__(self) -> None:
        self.now = 100.0
        self.reads = RecentReads(0.1, lambda: self.now)

    def read(self, name: bytes, value: int) -> None:
        asked, marks = self.now, self.reads.begin((name,))
        self.reads.end(marks, {name: (value,)}, asked)


def test_a_read_is_remembered_from_the_moment_before_it() -> None:
    made = Reads()
    marks = made.reads.begin((b"key",))
    made.now += 0.06
    made.reads.end(marks, {b"key": (1,)}, 100.0)
    assert made.reads.get(b"key").value == (1,)
    made.now += 0.05
    assert made.reads.get(b"key") is None


def test_an_own_update_ends_it_and_a_read_that_had_begun_is_not_remembered() -> None:
    made = Reads()
    made.read(b"key", 1)
    marks = made.reads.begin((b"key",))
    made.reads.forget((b"key",))
    assert made.reads.get(b"key") is None
    made.reads.end(marks, {b"key": (1,)}, 100.0)
    assert made.reads.get(b"key") is None
    made.reads.lax.add(b"other")
    made.read(b"other", 2)
    made.reads.forget((b"other",))
    assert made.reads.get(b"other").value == (2,)


def test_a_read_that_failed_leaves_nothing_and_the_oldest_are_dropped() -> None:
    made = Reads()
    made.reads.end(made.reads.begin((b"key",)), {}, 100.0)
    assert (made.reads.get(b"key"), made.reads._marks) == (None, {})
    for number in range(MOST + 1):
        made.now += 0.00001
        made.read(str(number).encode(), number)
    assert len(made.reads._reads) <= MOST
    assert made.reads.get(str(MOST).encode()).value == (MOST,)


# ---------------------------------------------------------------- watched keys


@pytest.fixture
def store(server: RedisServer) -> Iterator[RedisStore]:
    server.call("FLUSHALL")
    made = RedisStore(f"{server.url}?socket_timeout=10&socket_connect_timeout=10", remember=0.1)
    yield made
    made.close()


def test_a_thread_reads_watched_keys_so_that_no_call_does(store: RedisStore, server: RedisServer) -> None:
    store.watch("one", "two")
    other = RedisStore(f"{server.url}?socket_timeout=10&socket_connect_timeout=10")
    other.update("two", put((2,)), 60)
    other.close()
    assert until(lambda: store.read("two") == (2,))
    names = [b"flask_gateway:one", b"flask_gateway:two"]
    seen = store._recent._reads[names[0]].asked
    assert until(lambda: store._recent._reads[names[0]].asked > seen)  # again and again


def test_a_call_that_finds_them_old_reads_all_of_them_at_once(store: RedisStore, server: RedisServer) -> None:
    store._watcher.start = lambda: None  # type: ignore[method-assign]  # the thread is late
    now, commands, ask = 100.0, [], store._call
    store._recent.clock = lambda: now
    store._call = lambda *command: (commands.append(command[0]), ask(*command))[1]  # type: ignore[method-assign]
    store.watch("one", "two")
    for moment in (100.0, 105.0, 3700.0):
        now = moment
        assert [store.read("one"), store.read("two"), store.now() > 0] == [None, None, True]
    assert commands == ["MGET", "TIME", "MGET", "MGET"]
    now += 0.09
    store.update("one", put((1,)), 60)
    assert store.read("one") == (1,)


def test_a_redis_that_is_away_is_asked_less_often(victim: RedisServer) -> None:
    store = RedisStore(victim.url, remember=0.1)
    store.watch("key")
    store._watcher.stop()
    victim.kill()
    store._keep_reading()
    assert store._watch_due > 0.0
    store._recent.forget((b"flask_gateway:key",))
    with pytest.raises(StoreError):
        store.read("key")
    store.close()
