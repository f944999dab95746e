"""Tests the limit on wrong keys: the count, the length of a block, and that valid keys always pass."""

from __future__ import annotations

import tracemalloc
from functools import partial
from hashlib import sha256

import pytest
from kit.stores import HandClock

from flask_gateway.auth.api_keys import ApiKeyTable, identify
from flask_gateway.auth.lockout import ENTRIES, KeyGuessLimiter
from flask_gateway.model.call import Caller
from flask_gateway.model.errors import TooManyFailedKeys, Unauthorized
from flask_gateway.state.memory import MemoryStore
from flask_gateway.web.client_address import address_of, sharing_of

LIMIT = 60
CALLERS = ApiKeyTable({sha256(b"right").digest(): Caller("team", 0)})
HERE, THERE = b"\x0a\0\0\1", b"\x0a\0\0\2"


class Workers:
    """Workers that share a store and a clock."""

    def __init__(self, clock: HandClock, limit: int = LIMIT) -> None:
        self.clock = clock
        self.store = MemoryStore(clock)
        self.waits: float | None = None
        self.workers = [
            KeyGuessLimiter(partial(identify, CALLERS), self.store, limit, b"secret") for _ in range(2)
        ]

    def knock(self, key: str, address: bytes = HERE, worker: int = 0) -> str:
        try:
            return self.workers[worker].identify(key, lambda: address, self.clock() / 1_000_000).id
        except Unauthorized:
            return "wrong"
        except TooManyFailedKeys as error:
            self.waits = error.retry_after
            return "blocked"


@pytest.fixture
def pair(clock: HandClock) -> Workers:
    return Workers(clock)


def test_wrong_keys_are_counted_up_to_the_limit(pair: Workers):
    answers = [pair.knock(f"guess-{number}") for number in range(10_000)]
    assert answers == ["wrong"] * LIMIT + ["blocked"] * (10_000 - LIMIT)


def test_a_valid_key_is_accepted_from_a_blocked_address(pair: Workers):
    for number in range(2 * LIMIT):
        pair.knock(f"guess-{number}")
        assert pair.knock("right") == "team"
    assert pair.knock("wrong") == "blocked"


def test_a_wrong_key_is_refused_without_the_store_once_its_address_is_blocked(pair: Workers):
    for _ in range(LIMIT + 1):
        pair.knock("wrong")
    pair.store.update = None  # type: ignore[method-assign, assignment]
    assert [pair.knock(f"guess-{number}") for number in range(100)] == ["blocked"] * 100
    assert pair.knock("right") == "team"


def test_keys_from_an_address_that_is_not_known_are_not_counted(pair: Workers):
    assert {pair.knock(f"guess-{number}", b"") for number in range(3 * LIMIT)} == {"wrong"}
    assert list(pair.store.scan("")) == []


def test_a_valid_key_from_another_address_is_not_affected(pair: Workers):
    for number in range(2 * LIMIT):
        pair.knock(f"guess-{number}")
    assert pair.knock("right", THERE) == "team"
    assert pair.knock("wrong", THERE) == "wrong"


def test_workers_share_the_count_and_learn_of_a_block(pair: Workers):
    answers = [pair.knock("wrong", worker=number % 2) for number in range(4 * LIMIT)]
    assert answers.count("wrong") == LIMIT
    assert [pair.knock("wrong", worker=worker) for worker in (0, 1)] == ["blocked"] * 2


def test_a_block_ends_after_a_minute(pair: Workers):
    for _ in range(2 * LIMIT):
        pair.knock("wrong")
    assert pair.waits == 60
    pair.clock.advance(59.9)
    assert pair.knock("wrong") == "blocked"
    assert pair.waits == pytest.approx(0.1)
    pair.clock.advance(0.2)
    assert pair.knock("right") == "team"
    assert pair.knock("wrong") == "wrong"


def test_the_window_slides(pair: Workers):
    for _ in range(LIMIT):
        assert pair.knock("wrong") == "wrong"
        pair.clock.advance(1.0)
    # One a second: as each comes, one leaves.
    assert [pair.knock("wrong"), pair.knock("wrong")] == ["wrong", "blocked"]


def test_valid_keys_are_never_counted(pair: Workers):
    assert {pair.knock("right") for _ in range(3 * LIMIT)} == {"team"}
    assert list(pair.store.scan("")) == []


def test_no_limit(clock: HandClock):
    pair = Workers(clock, limit=0)
    assert {pair.knock("wrong") for _ in range(3 * LIMIT)} == {"wrong"}
    assert list(pair.store.scan("")) == []


def test_the_table_does_not_grow_with_the_number_of_addresses(pair: Workers):
    for number in range(3_000):
        pair.knock("wrong", number.to_bytes(4, "big"))
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(3_000, 12_000):
        assert pair.knock("wrong", number.to_bytes(4, "big")) == "wrong"  # nobody is blocked for others
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 540_000
    assert len(list(pair.store.scan(""))) <= ENTRIES
    assert pair.knock("right", THERE) == "team"


def test_the_number_of_remembered_blocks_is_bounded(clock: HandClock):
    pair = Workers(clock, limit=1)
    for number in range(3 * ENTRIES):
        for _ in range(2):
            pair.knock("wrong", number.to_bytes(4, "big"))
    assert len(pair.workers[0]._blocked) == ENTRIES


@pytest.mark.parametrize(
    ("peer", "told", "address"),
    [
        ("192.0.2.7", "1.2.3.4, 198.51.100.1", "c0000207"),
        ("192.0.2.7", None, "c0000207"),
        ("192.0.2.7", "198.51.100.1", "c0000207"),  # a proxy on another machine is not trusted
        ("127.0.0.1", "198.51.100.1", "c6336401"),
        ("::1", "198.51.100.1", "c6336401"),
        ("::ffff:127.0.0.1", "198.51.100.1", "c6336401"),
        ("", "198.51.100.1", "c6336401"),  # a Unix socket
        ("", None, ""),
        ("127.0.0.1", None, "7f000001"),
        ("127.0.0.1", "1.2.3.4, 198.51.100.1", ""),  # a list that the caller may have begun
        ("", "1.2.3.4, 198.51.100.1", ""),
        ("127.0.0.1", "unknown", ""),
        ("127.0.0.1", "", "7f000001"),
        ("127.0.0.1", "2001:db8:1:2:3:4:5:6", "20010db800010002"),
        ("2001:db8:1:2:ffff::", None, "20010db800010002"),
        ("127.0.0.1", "fe80::1%" + "x" * 5000, "fe80000000000000"),
        ("127.0.0.1", "::ffff:198.51.100.1", "c6336401"),
    ],
)
def test_the_address(peer: str, told: str | None, address: str):
    environ = {"REMOTE_ADDR": peer} | ({"HTTP_X_FORWARDED_FOR": told} if told is not None else {})
    assert address_of(environ).hex() == address


@pytest.mark.parametrize(
    ("environ", "sharing"),
    [
        ({"REMOTE_ADDR": "192.0.2.7"}, "own"),
        ({"REMOTE_ADDR": "192.0.2.7", "HTTP_VIA": "1.1 proxy"}, "proxy"),
        ({"REMOTE_ADDR": "192.0.2.7", "HTTP_X_FORWARDED_FOR": "198.51.100.1"}, "proxy"),
        ({"REMOTE_ADDR": "127.0.0.1"}, "machine"),
        ({"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "198.51.100.1"}, "own"),
        ({"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "1.2.3.4, 198.51.100.1"}, "unknown"),
        ({"REMOTE_ADDR": ""}, "unknown"),
    ],
)
def test_how_many_callers_share_an_address(environ: dict[str, str], sharing: str):
    assert sharing_of(environ) == sharing
