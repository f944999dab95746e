"""The slot of an upstream that is taken together with the limits of a key: refusals first, over Redis."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from kit.calls import make_call
from kit.stores import RedisServer
from kit.together_guards import Guards

from flask_gateway.guards.bulkhead import CallerBulkhead, UpstreamBulkhead
from flask_gateway.guards.slots_ahead import AheadGuard, Foreseen, SlotsAhead
from flask_gateway.guards.together import TogetherGuard
from flask_gateway.model.call import Call, Caller, Outcome
from flask_gateway.model.errors import RateLimited, UpstreamCut, UpstreamFull, Verdict

DONE = Outcome(Verdict.SUCCESS)
FAILED = Outcome.of_error(UpstreamCut("The upstream broke off."))


class UpstreamGuards(Guards):
    """The guards of a key, with those of an upstream that has two slots and of one model there."""

    def __init__(self, server: RedisServer, *, fresh: bool = True) -> None:
        super().__init__(server, fresh=fresh)
        self.ahead, self.trips = SlotsAhead(), 0
        self.up = UpstreamBulkhead("up", 2, self.leases, self.ahead)
        self.model = UpstreamBulkhead("up/m", 2, self.leases, self.ahead)
        self.other = UpstreamBulkhead("other", 2, self.leases, self.ahead)
        foreseen = Foreseen(("up", "other"), (self.up, self.model))
        taken = AheadGuard(self.store, self.ahead, lambda call: foreseen)
        self.guard = TogetherGuard(self.store, (CallerBulkhead(self.leases), self.limiter, taken))
        ask = self.store._store._primary._call

        def counted(*command: object) -> object:
            self.trips += threading.current_thread() is threading.main_thread()
            return ask(*command)

        self.store._store._primary._call = counted

    def held(self) -> list[int]:
        """The slots of the upstream and of its model, as Redis has them."""
        values = [self.store._store._primary.read(bulkhead.key) for bulkhead in (self.up, self.model)]
        return [sum((value or ())[2::4]) for value in values]

    def close(self) -> None:
        self.leases._keeper.stop()
        self.store.close()


@pytest.fixture
def guards(server: RedisServer) -> Iterator[UpstreamGuards]:
    made = UpstreamGuards(server)
    yield made
    made.close()


def call(requests: int = 50) -> Call:
    return msgspec.structs.replace(make_call(), caller=Caller("team-a", requests, max_concurrent=9))


def test_a_limit_of_the_key_that_refuses_takes_no_slot(guards: UpstreamGuards) -> None:
    guards.guard.admit(call(1)).settle(DONE)
    before = guards.trips
    with pytest.raises(RateLimited):
        guards.guard.admit(call(1))
    assert guards.trips - before == 1
    assert guards.held() == [0, 0]


def test_a_full_upstream_does_not_refuse_the_key_and_is_not_asked_twice(guards: UpstreamGuards) -> None:
    held = [guards.up.admit(make_call()) for _ in range(2)]
    asked = call()
    before = guards.trips
    permit = guards.guard.admit(asked)
    with pytest.raises(UpstreamFull):
        guards.up.admit(asked)
    assert guards.trips - before == 1
    assert guards.held() == [2, 1]
    held.pop().settle(DONE)
    again = guards.up.admit(asked)  # a second attempt asks Redis
    again.settle(DONE)
    permit.settle(DONE)
    assert guards.held() == [1, 0]


def test_a_slot_of_an_upstream_that_fails_is_free_at_once(guards: UpstreamGuards) -> None:
    asked = call()
    permit = guards.guard.admit(asked)
    slots = [guards.up.admit(asked), guards.model.admit(asked)]
    assert guards.held() == [1, 1]
    for slot in slots:
        slot.settle(FAILED)
    assert guards.held() == [0, 0]
    second = guards.up.admit(asked)
    permit.settle(DONE)
    assert guards.held() == [1, 0]  # that one is none of the key's
    second.settle(DONE)
    assert guards.held() == [0, 0]


def test_a_slot_goes_back_as_soon_as_another_upstream_is_asked(guards: UpstreamGuards) -> None:
    asked = call()
    permit = guards.guard.admit(asked)
    guards.up.admit(asked)
    guards.ahead.give_back(asked)
    assert guards.held() == [1, 0]
    permit.cancel()
    guards.ahead.give_back(asked)
    assert guards.held() == [0, 0]
    assert not guards.ahead._permits


def test_without_redis_the_bulkhead_takes_a_slot_itself(guards: UpstreamGuards) -> None:
    guards.store._store._away = True
    guards.store._store._probe_due = float("inf")
    asked = call()
    permit = guards.guard.admit(asked)
    assert guards.ahead.order_of(asked) == ("up", "other")
    slot = guards.up.admit(asked)
    assert guards.leases.taken(guards.up.key) == 1
    permit.settle(DONE)
    assert guards.leases.taken(guards.up.key) == 1
    slot.settle(DONE)
    assert guards.leases.taken(guards.up.key) == 0


def test_a_call_takes_two_round_trips_and_holds_its_slots_until_its_end(guards: UpstreamGuards) -> None:
    for _ in range(2):  # the first brings the scripts, in the same trips
        asked, before = call(), guards.trips
        permit = guards.guard.admit(asked)
        slots = [guards.up.admit(asked), guards.model.admit(asked)]
        assert guards.ahead.order_of(asked) == ("up", "other")
        for slot in slots:
            slot.settle(DONE)
        assert guards.trips - before == 1
        assert guards.held() == [1, 1]
        before = guards.trips
        permit.settle(DONE)
        assert guards.trips - before == 1
        assert guards.held() == [0, 0]
        assert guards.ahead.order_of(asked) is None


def test_two_machines_never_have_more_calls_in_flight_than_the_limit(server: RedisServer) -> None:
    machines = [UpstreamGuards(server), UpstreamGuards(server, fresh=False)]
    lock, now, most, answered = threading.Lock(), 0, 0, 0

    def one(number: int) -> None:
        nonlocal now, most, answered
        guards, asked = machines[number % 2], call(0)
        permit = guards.guard.admit(asked)
        try:
            slots = [guards.up.admit(asked)]
        except UpstreamFull:
            permit.settle(DONE)
            return
        with lock:
            now, answered = now + 1, answered + 1
            most = max(most, now)
        time.sleep(0.002)
        with lock:
            now -= 1
        slots[0].settle(DONE)
        permit.settle(DONE)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(120)))
    assert 0 < most <= 2
    assert answered >= 2
    assert [machine.held() for machine in machines] == [[0, 0]] * 2
    for machine in machines:
        machine.close()
