"""Tests the bulkheads: calls in flight never exceed the limit over all processes, and no slot leaks."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from kit.calls import make_call
from kit.examples import examples
from kit.stores import HandClock

from flask_gateway.guards.bulkhead import CallerBulkhead, SlotPermit, UpstreamBulkhead
from flask_gateway.guards.leases import LEASE, MAX_ROWS, AcquireLease, ConcurrencyLeases
from flask_gateway.model.call import Caller, Outcome
from flask_gateway.model.errors import TooManyConcurrent, UpstreamFull, Verdict
from flask_gateway.state.memory import MemoryStore
from flask_gateway.state.store import SECOND

KEY = "slots:upstream:llama"
DONE = Outcome(Verdict.SUCCESS)


@pytest.fixture
def slots(store: MemoryStore) -> ConcurrencyLeases:
    return ConcurrencyLeases(store)


def test_one_more_than_the_limit_is_refused_at_once(slots: ConcurrencyLeases) -> None:
    guard = UpstreamBulkhead("llama", 2, slots)
    guard.admit(make_call())
    guard.admit(make_call())
    with pytest.raises(UpstreamFull) as caught:
        guard.admit(make_call())
    assert (caught.value.status, caught.value.retry_after, caught.value.retry_elsewhere) == (503, 1.0, True)


def test_a_slot_is_released_once(slots: ConcurrencyLeases) -> None:
    guard = UpstreamBulkhead("llama", 2, slots)
    first, _ = guard.admit(make_call()), guard.admit(make_call())
    for _ in range(3):
        first.settle(DONE)
    guard.admit(make_call())
    with pytest.raises(UpstreamFull):
        guard.admit(make_call())


def test_each_caller_has_its_own(slots: ConcurrencyLeases) -> None:
    guard = CallerBulkhead(slots)
    a, b = Caller("a", 0, max_concurrent=1), Caller("b", 0, max_concurrent=1)
    permit = guard.admit(make_call(caller=a))
    guard.admit(make_call(caller=b))
    with pytest.raises(TooManyConcurrent) as caught:
        guard.admit(make_call(caller=a))
    assert (caught.value.status, caught.value.type) == (429, "concurrency")
    permit.settle(DONE)
    guard.admit(make_call(caller=a))


def test_without_a_limit_nothing_is_kept(slots: ConcurrencyLeases, store: MemoryStore) -> None:
    CallerBulkhead(slots).admit(make_call()).settle(DONE)
    assert list(store.scan("")) == []


def test_nothing_is_left_when_all_slots_are_released(
    slots: ConcurrencyLeases, store: MemoryStore, clock: HandClock
) -> None:
    guard = UpstreamBulkhead("llama", 5, slots)
    for permit in [guard.admit(make_call()) for _ in range(5)]:
        permit.settle(DONE)
    assert slots.taken(KEY) == 0
    clock.advance(LEASE)
    slots.keep()
    assert list(store.scan("")) == []


def test_a_killed_process_holds_its_slots_for_the_lease_only(store: MemoryStore, clock: HandClock) -> None:
    dead, alive = ConcurrencyLeases(store), ConcurrencyLeases(store)
    for _ in range(3):
        assert dead.acquire(KEY, 4)
    assert alive.acquire(KEY, 4)
    assert not alive.acquire(KEY, 4)
    clock.advance(LEASE - 0.1)
    alive.keep()
    assert not alive.acquire(KEY, 4)
    clock.advance(0.1)
    assert [bool(alive.acquire(KEY, 4)) for _ in range(4)] == [True, True, True, False]


def test_a_long_call_keeps_its_slot(slots: ConcurrencyLeases, clock: HandClock) -> None:
    slots.acquire(KEY, 1)
    for _ in range(100):
        clock.advance(LEASE * 0.3)
        slots.keep()
        assert not slots.acquire(KEY, 1)


def test_slots_that_the_store_has_lost_are_restored(slots: ConcurrencyLeases, store: MemoryStore) -> None:
    slots.acquire(KEY, 2)
    epoch = slots.acquire(KEY, 2)
    store.update(KEY, lambda old, now: (None, None), 1)
    slots.keep()
    assert slots.taken(KEY) == 2
    slots.release(KEY, epoch)
    assert slots.taken(KEY) == 1


def test_a_release_that_failed_is_repeated(slots: ConcurrencyLeases, store: MemoryStore) -> None:
    """The store is unreachable: the release goes to the fallback store, which does not have the slot."""
    epoch = slots.acquire(KEY, 2)
    slots.acquire(KEY, 2)
    primary, slots._store = slots._store, MemoryStore()
    slots.release(KEY, epoch)
    slots._store = primary
    assert slots.taken(KEY) == 2
    slots.keep()
    assert slots.taken(KEY) == 1


def test_a_clock_set_back_by_an_hour_holds_nothing_for_an_hour(store: MemoryStore, clock: HandClock) -> None:
    ConcurrencyLeases(store).acquire(KEY, 1)
    alive = ConcurrencyLeases(store)
    clock.advance(-3600)
    for _ in range(10):
        clock.advance(LEASE / 9)
        alive.acquire(KEY, 2)
    assert alive.acquire(KEY, 11)


def test_processes_above_max_rows_are_refused() -> None:
    value = None
    for holder in range(1, MAX_ROWS + 1):
        value, epoch = AcquireLease(1000, holder)(value, 0 + SECOND)
        assert epoch
    assert AcquireLease(1000, MAX_ROWS + 1)(value, SECOND) == (value, 0)
    assert AcquireLease(1000, 1)(value, SECOND)[1]


def test_a_share_is_at_least_one() -> None:
    assert AcquireLease(10, 1).divided(4).limit == 2
    assert AcquireLease(1, 1).divided(4).limit == 1


class SlotMachine(RuleBasedStateMachine):
    """Three processes take and release slots; one may be killed; the model is a count."""

    LIMIT = 4

    def __init__(self) -> None:
        super().__init__()
        self.clock = HandClock()
        self.store = MemoryStore(self.clock)
        self.processes = [ConcurrencyLeases(self.store) for _ in range(3)]
        self.held: list[tuple[int, SlotPermit]] = []
        self.orphans: list[tuple[int, int]] = []  # slots of the dead, and until when they count

    def _orphaned(self) -> int:
        return sum(count for count, until in self.orphans if until > self.clock())

    @rule(process=st.integers(0, 2))
    def take(self, process: int) -> None:
        guard = UpstreamBulkhead("llama", self.LIMIT, self.processes[process])
        try:
            permit = guard.admit(make_call())
        except UpstreamFull:
            assert len(self.held) + self._orphaned() >= self.LIMIT
        else:
            assert len(self.held) + self._orphaned() < self.LIMIT
            self.held.append((process, permit))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        _, permit = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        permit.settle(DONE)

    @rule(seconds=st.sampled_from([1, 3, 9, 11]))
    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1)
            for process in self.processes:
                process.keep()

    @rule(process=st.integers(0, 2))
    def kill(self, process: int) -> None:
        count = sum(owner == process for owner, _ in self.held)
        self.held = [(owner, permit) for owner, permit in self.held if owner != process]
        self.orphans.append((count, self.clock() + int(LEASE * SECOND)))
        self.processes[process] = ConcurrencyLeases(self.store)

    @invariant()
    def the_count_is_the_models(self) -> None:
        taken = self.processes[0].taken(KEY)
        assert len(self.held) <= taken <= len(self.held) + self._orphaned()


TestSlotMachine = SlotMachine.TestCase
TestSlotMachine.settings = settings(max_examples=examples(100, 500), stateful_step_count=25, deadline=None)
