"""When a full worker takes the next connection: a table of moments."""

from __future__ import annotations

import pytest

from flask_gateway.guards.inflight import ThreadUsage
from flask_gateway.server.backpressure import (
    JAM,
    JAM_OF_STREAMS,
    SHY,
    STEP,
    AcceptGate,
    expected_wait,
)

NOW = 100.0


def calls(pace: float = 0.01, moved: float = NOW, busy: int = 10) -> ThreadUsage:
    return ThreadUsage(busy=busy, most=10, held=busy, starting=0, pace=pace, moved=moved)


def streams(pace: float = 0.01, moved: float = NOW) -> ThreadUsage:
    return calls(pace, moved)._replace(starting=5)


def full_for_long(workers: int = 1) -> AcceptGate:
    """A gate that has had time to refuse a lot in a row."""
    gate, then = AcceptGate(workers), NOW - 10
    while then < NOW - 5:
        then += gate.hold_back(calls(moved=0.0), lambda: 1, then)
    return gate


def test_a_worker_with_room_takes_what_comes() -> None:
    gate = AcceptGate()
    assert [gate.hold_back(calls(busy=busy), lambda: 500, NOW) for busy in range(10)] == [0.0] * 10


def test_a_full_worker_first_waits_for_the_others() -> None:
    gate, jam = AcceptGate(), calls(moved=NOW - 60)
    assert gate.hold_back(jam, lambda: 100, NOW) == pytest.approx(SHY)
    assert gate.hold_back(jam, lambda: 100, NOW + SHY / 2) == pytest.approx(SHY / 2)
    assert gate.hold_back(jam, lambda: 100, NOW + SHY * 1.01) == 0.0


def test_between_those_that_it_refuses_it_waits_again_but_for_more_of_them_each_time() -> None:
    gate, jam, now, batches = AcceptGate(), calls(moved=NOW - 60), NOW, [0]
    while len(batches) < 10:
        pause = gate.hold_back(jam, lambda: 100, now)
        if pause:
            now += pause + 1e-6
            batches.append(0)
        else:
            batches[-1] += 1
    assert batches[1:-1] == [1, 2, 4, 8, 16, 32, 64, 64]


def test_a_burst_of_quick_calls_is_waited_for() -> None:
    assert full_for_long().hold_back(calls(pace=0.001), lambda: 70, NOW) == STEP


def test_the_oldest_of_a_long_queue_are_refused_until_the_rest_is_short_enough() -> None:
    gate, queue, refused = full_for_long(), 20, 0
    while not gate.hold_back(calls(pace=0.01), lambda queue=queue: queue, NOW):
        queue, refused = queue - 1, refused + 1
    assert (queue, refused) == (8, 12)


def test_nobody_is_left_behind_calls_that_do_not_end() -> None:
    assert full_for_long().hold_back(calls(pace=0.001, moved=NOW - JAM * 1.01), lambda: 1, NOW) == 0.0


@pytest.mark.parametrize(("queue", "pause"), [(1900, STEP), (2100, 0.0)])
def test_a_crowd_of_streams_that_begin_is_given_more_time(queue: int, pause: float) -> None:
    assert full_for_long().hold_back(streams(pace=0.01), lambda: queue, NOW) == pause


def test_a_crowd_of_streams_that_stands_is_a_jam() -> None:
    assert full_for_long().hold_back(streams(moved=NOW - JAM_OF_STREAMS * 1.01), lambda: 1, NOW) == 0.0


def test_a_crowd_that_has_just_come_is_no_jam() -> None:
    gate = AcceptGate()
    gate.hold_back(streams(moved=0.0), lambda: 3, NOW)
    assert gate.hold_back(streams(moved=0.0), lambda: 3, NOW + JAM_OF_STREAMS * 0.99) == STEP
    assert gate.hold_back(streams(moved=0.0), lambda: 3, NOW + JAM_OF_STREAMS * 1.01) == 0.0


def test_the_queue_is_everybodys() -> None:
    assert expected_wait(calls(pace=0.01), 20, 4) == pytest.approx(0.05)
    assert full_for_long(workers=4).hold_back(calls(pace=0.01), lambda: 20, NOW) == STEP


def test_a_moment_of_room_begins_it_all_anew() -> None:
    gate = full_for_long()
    assert gate.hold_back(calls(busy=9), lambda: 1, NOW) == 0.0
    assert gate.hold_back(calls(), lambda: 1, NOW) == pytest.approx(SHY)
