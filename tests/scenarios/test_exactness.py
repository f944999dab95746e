"""Checks limits, breaker and leases over forked processes with many threads each.

The quick forms always run. ``make soak`` runs the long forms of the same tests.
"""

from __future__ import annotations

import mmap
import multiprocessing
import random
import struct
import threading
import time
from bisect import bisect_right
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.synchronize import Barrier

import pytest
from kit.calls import make_call
from kit.examples import examples
from kit.stores import Child

from flask_gateway.guards.breaker import Breaker
from flask_gateway.guards.breaker_state import Phase, Policy, State
from flask_gateway.guards.leases import ConcurrencyLeases
from flask_gateway.guards.sliding_window import Acquire
from flask_gateway.model.call import Outcome
from flask_gateway.model.errors import CircuitOpen, Verdict
from flask_gateway.state import StoreBusy
from flask_gateway.state.shared_memory import SharedStore
from flask_gateway.state.store import SECOND, Value

PROCESSES, THREADS = 4, 16


class Tally:
    """An array of integers in shared memory. Each process writes its own entries."""

    def __init__(self, size: int) -> None:
        self._memory = mmap.mmap(-1, size * 8)

    def __setitem__(self, place: int, number: int) -> None:
        struct.pack_into("<q", self._memory, place * 8, number)

    def __getitem__(self, place: int) -> int:
        return int(struct.unpack_from("<q", self._memory, place * 8)[0])


def in_threads(work: Callable[[int], None], count: int = THREADS) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class Stamped(Acquire):
    """The limiter's change, which returns whether it admits, and the time of its decision."""

    def __call__(self, log: Value | None, now: int) -> tuple[Value | None, tuple[bool, int]]:  # type: ignore[override]
        log, (admitted, _) = super().__call__(log, now)
        return log, (admitted, now)


class Noted:
    """Times that each process notes, up to a number of them."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._times, self._counts = Tally(PROCESSES * room), Tally(PROCESSES)

    def note(self, process: int, times: list[int]) -> None:
        for place, moment in enumerate(times[: self._room]):
            self._times[process * self._room + place] = moment
        self._counts[process] = min(len(times), self._room)

    def all(self) -> list[int]:
        return sorted(
            self._times[process * self._room + place]
            for process in range(PROCESSES)
            for place in range(self._counts[process])
        )


@pytest.mark.parametrize(
    ("limit", "window", "windows"),
    [
        pytest.param(100, 0.5, 6, id="exact"),
        pytest.param(1000, 1.0, examples(3, 5), id="grains", marks=pytest.mark.long),
        pytest.param(1000, 10.0, 20, id="long", marks=pytest.mark.soak),
    ],
)
def test_the_limit_holds_in_every_window_over_all_processes(limit: int, window: float, windows: int) -> None:
    store = SharedStore()
    admitted, refused = (Noted(2 * limit * (windows + 2)) for _ in range(2))
    start = time.monotonic() + 0.2
    stop = start + window * windows
    take = Stamped(limit, int(window * SECOND))

    def process(number: int) -> None:
        lock = threading.Lock()
        times: dict[bool, list[int]] = {True: [], False: []}

        def ask(_: int) -> None:
            while time.monotonic() < start:
                time.sleep(0.001)
            while time.monotonic() < stop:
                is_admitted, moment = store.update("limit:a", take, window * 2)
                with lock:
                    times[is_admitted].append(moment)
                if not is_admitted:
                    time.sleep(random.uniform(0.0005, 0.002) * window)

        in_threads(ask)
        admitted.note(number, times[True])
        refused.note(number, times[False])

    children = [Child(lambda number=number: process(number)) for number in range(PROCESSES)]
    assert [child.wait(window * windows + 60) for child in children] == [0] * PROCESSES
    moments, refusals, span = admitted.all(), refused.all(), int(window * SECOND)
    too_many = [a for a, b in zip(moments, moments[limit:], strict=False) if b - a < span]
    assert too_many == []
    # Each refusal saw a full window. A request counts until the end of its bucket, if there are buckets.
    reach = span + (take.grain if take.grain > 1 else 0)
    seen = [bisect_right(moments, moment) - bisect_right(moments, moment - reach) for moment in refusals]
    assert refusals
    assert min(seen) >= limit


@pytest.mark.parametrize("rounds", [examples(150, 500)])
def test_a_half_open_breaker_admits_exactly_one_probe(rounds: int) -> None:
    store = SharedStore()
    policy = Policy(max_failures=1, reset=30 * SECOND, lease=30 * SECOND)
    contacts = Tally(PROCESSES * THREADS)
    barrier: Barrier = multiprocessing.get_context("fork").Barrier(PROCESSES * THREADS + 1)

    def thread(place: int) -> None:
        breaker = Breaker("llama", store, policy)
        for _ in range(rounds):
            barrier.wait(60)
            try:
                breaker.admit(make_call())
            except CircuitOpen:
                contacts[place] = 0
            else:
                contacts[place] = 1
            barrier.wait(60)

    def process(number: int) -> None:
        in_threads(lambda number_of_thread: thread(number * THREADS + number_of_thread))

    children = [Child(lambda number=number: process(number)) for number in range(PROCESSES)]
    seen = []
    for generation in range(rounds):
        due = State(Phase.OPEN, 1, generation, store.now() - 1, 0)
        store.update("breaker:llama", lambda old, now, due=due: (due, None), 60)
        barrier.wait(60)
        barrier.wait(60)
        seen.append(sum(contacts[place] for place in range(PROCESSES * THREADS)))
    assert [child.wait(60) for child in children] == [0] * PROCESSES
    assert seen == [1] * rounds


def test_the_lease_of_a_killed_probe_ends() -> None:
    store = SharedStore()
    policy = Policy(max_failures=1, reset=SECOND // 10, lease=SECOND // 2)
    breaker = Breaker("llama", store, policy)
    breaker.admit(make_call()).settle(Outcome(Verdict.FAILURE))
    time.sleep(0.11)

    def probe() -> None:
        breaker.admit(make_call())
        time.sleep(60)

    with Child(probe) as child:
        deadline = time.monotonic() + 5
        while breaker.status().state != "HALF_OPEN":
            assert time.monotonic() < deadline
            time.sleep(0.001)
        child.kill()
    with pytest.raises(CircuitOpen):
        breaker.admit(make_call())
    time.sleep(0.5)
    breaker.admit(make_call()).settle(Outcome(Verdict.SUCCESS))
    assert breaker.status().state == "CLOSED"


class Stays:
    """The times at which each thread entered and left, noted inside, so that no false overlap is seen."""

    room = 4000

    def __init__(self) -> None:
        self._counts = Tally(PROCESSES * THREADS)
        self._moments = Tally(PROCESSES * THREADS * self.room * 2)

    def enter(self, thread: int) -> None:
        place = (thread * self.room + self._counts[thread] % self.room) * 2
        self._moments[place] = time.monotonic_ns()
        self._moments[place + 1] = 0

    def leave(self, thread: int, moment: int = 0) -> None:
        place = (thread * self.room + self._counts[thread] % self.room) * 2 + 1
        self._moments[place] = moment or time.monotonic_ns()
        self._counts[thread] += 1

    def killed(self, thread: int, moment: int) -> None:
        """End the open stay of a killed process. Its successor continues in the same entries.

        :param moment: a time before the kill. After the kill its leases are free at once.
        """
        place = (thread * self.room + self._counts[thread] % self.room) * 2
        entered = self._moments[place]
        if entered and not self._moments[place + 1]:
            self.leave(thread, max(entered, moment))

    def most_at_once(self) -> int:
        edges: list[tuple[int, int]] = []
        for thread in range(PROCESSES * THREADS):
            for number in range(min(self._counts[thread], self.room)):
                place = (thread * self.room + number) * 2
                edges += [(self._moments[place], 1), (self._moments[place + 1], -1)]
        inside = most = 0
        for _, step in sorted(edges):
            inside += step
            most = max(most, inside)
        return most


def test_leases_stay_exact_while_processes_are_killed() -> None:
    """Processes acquire and release leases. From time to time one is killed and one is stopped."""
    store, limit, key, stays = SharedStore(), 5, "slots:upstream:llama", Stays()

    def thread(slots: ConcurrencyLeases, place: int) -> None:
        while True:
            with suppress(StoreBusy):  # the stopped one may have been stopped inside the store
                if epoch := slots.acquire(key, limit):
                    stays.enter(place)
                    time.sleep(random.uniform(0, 0.004))
                    stays.leave(place)
                    slots.release(key, epoch)
            time.sleep(0.001)

    def process(number: int) -> None:
        slots = ConcurrencyLeases(store)
        in_threads(lambda at: thread(slots, number * THREADS + at))

    children: list[Child] = []
    try:
        children += [Child(lambda number=number: process(number)) for number in range(PROCESSES)]
        for number in (0, 2, 1, 3)[: examples(2, 4)]:
            time.sleep(0.3)
            children[number - 1].stop()
            time.sleep(0.2)
            moment = time.monotonic_ns()
            children[number].kill()
            for place in range(number * THREADS, (number + 1) * THREADS):
                stays.killed(place, moment)
            time.sleep(0.2)
            children[number - 1].resume()
            children[number] = Child(lambda number=number: process(number))
    finally:
        for child in children:
            child.kill()
    assert stays.most_at_once() == limit
    assert ConcurrencyLeases(store).taken(key) == 0
    assert all(ConcurrencyLeases(store).acquire(key, limit) for _ in range(limit))
