"""Tests how the timeouts of an upstream follow from the general ones and its own."""

from __future__ import annotations

from flask_gateway.config.timeouts import Timeouts


def test_a_longer_silence_raises_what_must_not_be_shorter() -> None:
    clocks = Timeouts.within(700.0)
    assert (clocks.first_byte, clocks.first_token, clocks.total, clocks.connect) == (700.0, 700.0, 700.0, 5.0)


def test_an_own_answer_time_raises_the_total_unless_that_is_set() -> None:
    assert Timeouts().with_own({"answer": 900.0}).total == 900.0
    assert Timeouts().with_own({"answer": 900.0, "total": 30.0}).total == 30.0
    assert Timeouts().with_own({"idle": 1.0}).total == Timeouts().total
