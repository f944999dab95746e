"""Tests equal requests at once: one leads, at most four wait, and a failure is not shared."""

from __future__ import annotations

from kit.cached import KEY, OTHER, entry

from flask_gateway.cache.flights import FOLLOWERS, Flights


def test_one_leads_and_a_few_wait() -> None:
    flights = Flights()
    flight, leads = flights.join(KEY)
    assert flight is not None
    assert leads
    assert [flights.join(KEY) for _ in range(FOLLOWERS)] == [(flight, False)] * FOLLOWERS
    assert flights.join(KEY) == (None, False)
    assert flights.join(OTHER)[1]


def test_an_answer_is_shared_and_a_failure_is_not() -> None:
    for landed in (entry(), None):
        flights = Flights()
        leader, _ = flights.join(KEY)
        follower, _ = flights.join(KEY)
        assert leader is not None
        assert follower is not None
        flights.land(KEY, leader, landed)
        assert follower.wait(0.0) == landed
        assert flights.join(KEY)[1]  # the next one leads again


def test_a_wait_ends_without_an_answer() -> None:
    flight, _ = Flights().join(KEY)
    assert flight is not None
    assert flight.wait(0.0) is None
