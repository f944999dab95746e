"""Tests the outage: when the primary may be tried, and how that is judged."""

from __future__ import annotations

import pytest

from flask_gateway.cli.selftest.runners import allowed_at, judge_outage
from flask_gateway.cli.selftest.verdicts import Finding, Judgement


@pytest.mark.parametrize(
    ("failures", "reset", "allowed"),
    [
        ([10.0], 30.0, 60.0),
        ([1.0, 2.0, 50.0], 30.0, 80.0),
        ([1.0, 2.0, 3.0, 33.0], 30.0, 105.0),
        ([1.0, 2.0, 3.0, 33.0, 50.0], 5.0, 74.0),
        ([1.0, 2.0, 3.0, 50.0], 100.0, 170.0),
        ([1.0, 2.0, 3.0], 5.0, 60.0),
    ],
)
def test_when_the_primary_may_be_tried(failures: list[float], reset: float, allowed: float) -> None:
    """Up at 60, three failures open; twice as long and jitter after each failed probe."""
    assert allowed_at([*failures, 90.0], 60.0, 3, reset) == pytest.approx(allowed)


def test_an_outage() -> None:
    good = [Finding(Judgement.PASS)] * 20
    assert judge_outage(good, 6, 0.0, 1.0).verdict is Judgement.PASS
    assert judge_outage(good, 7, 0.0, 1.0).verdict is Judgement.FAIL
    assert judge_outage(good, 6, 5.1, 1.0).verdict is Judgement.FAIL
    assert judge_outage(good, 6, None, 1.0).verdict is Judgement.FAIL
    assert judge_outage([*good, Finding(Judgement.SAFE)], 6, 0.0, 1.0).verdict is Judgement.SAFE
    assert judge_outage([*good, Finding(Judgement.FAIL)], 6, 0.0, 1.0).verdict is Judgement.FAIL
