"""When a full worker accepts, delays or refuses the next connection."""

from __future__ import annotations

import pytest

from flask_gateway.guards.inflight import ThreadUsage
from flask_gateway.server.backpressure import (
    RECHECK_PERIOD,
    STALL,
    STALL_OF_STREAMS,
    YIELD_TIME,
    AcceptGate,
    expected_wait,
)

NOW = 100.0


def calls(pace: float = 0.01, moved: float = NOW, busy: int = 10) -> ThreadUsage:
    return ThreadUsage(busy=busy, most=10, held=busy, starting=0, pace=pace, moved=moved)


def streams(pace: float = 0.01, moved: float = NOW) -> ThreadUsage:
    return calls(pace, moved)._replace(starting=5)


def full_for_long(workers: int = 1) -> AcceptGate:
    """A gate that has reached its largest batch."""
    gate, then = AcceptGate(workers), NOW - 10
    while then < NOW - 5:
        then += gate.hold_back(calls(moved=0.0), lambda: 1, then)
    return gate


def test_a_worker_with_free_threads_accepts_every_connection() -> None:
    gate = AcceptGate()
    assert [gate.hold_back(calls(busy=busy), lambda: 500, NOW) for busy in range(10)] == [0.0] * 10


def test_a_full_worker_first_leaves_the_connection_to_other_workers() -> None:
    gate, stalled = AcceptGate(), calls(moved=NOW - 60)
    assert gate.hold_back(stalled, lambda: 100, NOW) == pytest.approx(YIELD_TIME)
    assert gate.hold_back(stalled, lambda: 100, NOW + YIELD_TIME / 2) == pytest.approx(YIELD_TIME / 2)
    assert gate.hold_back(stalled, lambda: 100, NOW + YIELD_TIME * 1.01) == 0.0


def test_batches_of_refusals_double_between_waits() -> None:
    gate, stalled, now, batches = AcceptGate(), calls(moved=NOW - 60), NOW, [0]
    while len(batches) < 10:
        pause = gate.hold_back(stalled, lambda: 100, now)
        if pause:
            now += pause + 1e-6
            batches.append(0)
        else:
            batches[-1] += 1
    assert batches[1:-1] == [1, 2, 4, 8, 16, 32, 64, 64]


def test_a_queue_behind_quick_calls_waits() -> None:
    assert full_for_long().hold_back(calls(pace=0.001), lambda: 70, NOW) == RECHECK_PERIOD


def test_the_oldest_of_a_long_queue_are_refused_until_it_is_short() -> None:
    gate, queue, refused = full_for_long(), 20, 0
    while not gate.hold_back(calls(pace=0.01), lambda queue=queue: queue, NOW):
        queue, refused = queue - 1, refused + 1
    assert (queue, refused) == (8, 12)


def test_a_queue_behind_stalled_calls_is_refused() -> None:
    assert full_for_long().hold_back(calls(pace=0.001, moved=NOW - STALL * 1.01), lambda: 1, NOW) == 0.0


@pytest.mark.parametrize(("queue", "pause"), [(1900, RECHECK_PERIOD), (2100, 0.0)])
def test_a_queue_behind_starting_streams_waits_longer(queue: int, pause: float) -> None:
    assert full_for_long().hold_back(streams(pace=0.01), lambda: queue, NOW) == pause


def test_a_queue_behind_stalled_streams_is_refused() -> None:
    assert full_for_long().hold_back(streams(moved=NOW - STALL_OF_STREAMS * 1.01), lambda: 1, NOW) == 0.0


def test_a_worker_that_just_became_full_is_not_stalled() -> None:
    gate = AcceptGate()
    gate.hold_back(streams(moved=0.0), lambda: 3, NOW)
    assert gate.hold_back(streams(moved=0.0), lambda: 3, NOW + STALL_OF_STREAMS * 0.99) == RECHECK_PERIOD
    assert gate.hold_back(streams(moved=0.0), lambda: 3, NOW + STALL_OF_STREAMS * 1.01) == 0.0


def test_all_workers_share_the_queue() -> None:
    assert expected_wait(calls(pace=0.01), 20, 4) == pytest.approx(0.05)
    assert full_for_long(workers=4).hold_back(calls(pace=0.01), lambda: 20, NOW) == RECHECK_PERIOD


def test_one_free_thread_resets_the_gate() -> None:
    gate = full_for_long()
    assert gate.hold_back(calls(busy=9), lambda: 1, NOW) == 0.0
    assert gate.hold_back(calls(), lambda: 1, NOW) == pytest.approx(YIELD_TIME)
