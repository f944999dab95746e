"""When a full worker takes the next connection: a table of moments."""

from __future__ import annotations

from flask_gateway.gate import JAM, LONGEST, OPEN, SHY, STEP, Crowd, Gate

LONG_CALLS = Crowd(held=10, most=10, starting=0, moved=0.0)


def streams(moved: float) -> Crowd:
    return Crowd(held=10, most=10, starting=5, moved=moved)


def test_a_worker_with_room_takes_what_comes() -> None:
    gate = Gate()
    assert [gate.hold_back(Crowd(held, 10, held, 0.0), now=1.0) for held in range(10)] == [0.0] * 10


def test_a_full_worker_waits_for_the_others_and_then_takes_what_is_still_there() -> None:
    gate = Gate()
    assert gate.hold_back(LONG_CALLS, 100.0) == SHY
    assert 0 < gate.hold_back(LONG_CALLS, 100.0 + SHY / 2) <= SHY / 2 + 1e-9
    assert gate.hold_back(LONG_CALLS, 100.0 + SHY + 1e-6) == 0.0


def test_what_waits_is_taken_together_and_then_the_others_are_waited_for_again() -> None:
    gate = Gate()
    gate.hold_back(LONG_CALLS, 100.0)
    gate.hold_back(LONG_CALLS, 100.0 + SHY + 1e-6)
    assert gate.hold_back(LONG_CALLS, 100.0 + SHY + OPEN / 2) == 0.0
    assert gate.hold_back(LONG_CALLS, 100.0 + SHY + OPEN + 0.01) == SHY


def test_a_crowd_of_streams_that_moves_is_waited_for() -> None:
    gate, now = Gate(), 100.0
    gate.hold_back(streams(now), now)
    while now < 100.0 + LONGEST - SHY:
        now += 0.05
        assert gate.hold_back(streams(moved=now - JAM / 2), now) == STEP


def test_a_crowd_that_stands_is_a_jam() -> None:
    gate = Gate()
    gate.hold_back(streams(100.0), 100.0)
    assert gate.hold_back(streams(100.0), 100.0 + JAM - 0.01) == STEP
    assert gate.hold_back(streams(100.0), 100.0 + JAM + 1e-6) == 0.0


def test_a_crowd_that_does_not_end_is_not_waited_for_for_ever() -> None:
    gate = Gate()
    gate.hold_back(streams(100.0), 100.0)
    assert gate.hold_back(streams(100.0 + LONGEST), 100.0 + LONGEST) == 0.0


def test_a_moment_of_room_begins_it_all_anew() -> None:
    gate = Gate()
    gate.hold_back(LONG_CALLS, 100.0)
    assert gate.hold_back(LONG_CALLS._replace(held=9), 100.01) == 0.0
    assert gate.hold_back(LONG_CALLS, 100.03) == SHY
