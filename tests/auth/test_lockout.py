"""Wrong keys: how many are counted, how long they are refused, and that right keys never are."""

from __future__ import annotations

import tracemalloc
from hashlib import sha256

import pytest
from kit.stores import HandClock

from flask_gateway.auth.api_keys import ApiKeyTable
from flask_gateway.auth.lockout import ENTRIES, KeyGuessLimiter
from flask_gateway.model.call import Caller
from flask_gateway.model.errors import TooManyFailedKeys, Unauthorized
from flask_gateway.state.memory import MemoryStore
from flask_gateway.web.client_address import address_of, sharing_of

LIMIT = 60
CALLERS = ApiKeyTable({sha256(b"right").digest(): Caller("team", 0)})
HERE, THERE = b"\x0a\0\0\1", b"\x0a\0\0\2"


class Door:
    """Workers that share a store and a clock."""

    def __init__(self, clock: HandClock, limit: int = LIMIT) -> None:
        self.clock = clock
        self.store = MemoryStore(clock)
        self.waits: float | None = None
        self.workers = [KeyGuessLimiter(CALLERS.identify, self.store, limit, b"secret") for _ in range(2)]

    def knock(self, key: str, address: bytes = HERE, worker: int = 0) -> str:
        try:
            return self.workers[worker].identify(key, lambda: address, self.clock() / 1_000_000).id
        except Unauthorized:
            return "wrong"
        except TooManyFailedKeys as error:
            self.waits = error.retry_after
            return "barred"


@pytest.fixture
def door(clock: HandClock) -> Door:
    return Door(clock)


def test_so_many_wrong_keys_are_looked_at_and_no_more(door: Door):
    answers = [door.knock(f"guess-{number}") for number in range(10_000)]
    assert answers == ["wrong"] * LIMIT + ["barred"] * (10_000 - LIMIT)


def test_a_right_key_is_let_in_however_many_wrong_ones_came_from_there(door: Door):
    for number in range(2 * LIMIT):
        door.knock(f"guess-{number}")
        assert door.knock("right") == "team"
    assert door.knock("wrong") == "barred"


def test_a_wrong_key_is_refused_without_the_store_once_its_address_is_blocked(door: Door):
    for _ in range(LIMIT + 1):
        door.knock("wrong")
    door.store.update = None  # type: ignore[method-assign, assignment]
    assert [door.knock(f"guess-{number}") for number in range(100)] == ["barred"] * 100
    assert door.knock("right") == "team"


def test_keys_from_an_address_that_is_not_known_are_not_counted(door: Door):
    assert {door.knock(f"guess-{number}", b"") for number in range(3 * LIMIT)} == {"wrong"}
    assert list(door.store.scan("")) == []


def test_a_right_key_from_elsewhere_is_not_affected(door: Door):
    for number in range(2 * LIMIT):
        door.knock(f"guess-{number}")
    assert door.knock("right", THERE) == "team"
    assert door.knock("wrong", THERE) == "wrong"


def test_the_workers_count_together_and_each_learns_it_with_one_more(door: Door):
    answers = [door.knock("wrong", worker=number % 2) for number in range(4 * LIMIT)]
    assert answers.count("wrong") == LIMIT
    assert [door.knock("wrong", worker=worker) for worker in (0, 1)] == ["barred"] * 2


def test_it_is_over_after_a_minute(door: Door):
    for _ in range(2 * LIMIT):
        door.knock("wrong")
    assert door.waits == 60
    door.clock.advance(59.9)
    assert door.knock("wrong") == "barred"
    assert door.waits == pytest.approx(0.1)
    door.clock.advance(0.2)
    assert door.knock("right") == "team"
    assert door.knock("wrong") == "wrong"


def test_it_slides(door: Door):
    for _ in range(LIMIT):
        assert door.knock("wrong") == "wrong"
        door.clock.advance(1.0)
    # One a second: as each comes, one leaves.
    assert [door.knock("wrong"), door.knock("wrong")] == ["wrong", "barred"]


def test_right_keys_are_never_counted(door: Door):
    assert {door.knock("right") for _ in range(3 * LIMIT)} == {"team"}
    assert list(door.store.scan("")) == []


def test_no_limit(clock: HandClock):
    door = Door(clock, limit=0)
    assert {door.knock("wrong") for _ in range(3 * LIMIT)} == {"wrong"}
    assert list(door.store.scan("")) == []


def test_a_hundred_thousand_addresses_take_no_more_room_than_the_places(door: Door):
    for number in range(5_000):
        door.knock("wrong", number.to_bytes(4, "big"))
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(5_000, 100_000):
        assert door.knock("wrong", number.to_bytes(4, "big")) == "wrong"  # nobody is barred for others
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 5_000_000
    assert len(list(door.store.scan(""))) <= ENTRIES
    assert door.knock("right", THERE) == "team"


def test_a_thousand_blocked_addresses_are_remembered_and_others_then_asked_of_the_store(clock: HandClock):
    door = Door(clock, limit=1)
    for number in range(3 * ENTRIES):
        for _ in range(2):
            door.knock("wrong", number.to_bytes(4, "big"))
    assert len(door.workers[0]._blocked) == ENTRIES


@pytest.mark.parametrize(
    ("peer", "told", "address"),
    [
        ("192.0.2.7", "1.2.3.4, 198.51.100.1", "c0000207"),
        ("192.0.2.7", None, "c0000207"),
        ("192.0.2.7", "198.51.100.1", "c0000207"),  # who is not on this machine is not believed
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
def test_how_many_callers_an_address_stands_for(environ: dict[str, str], sharing: str):
    assert sharing_of(environ) == sharing
