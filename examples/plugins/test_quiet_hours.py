"""Tests the example of quiet hours."""

from __future__ import annotations

from datetime import datetime, time
from zoneinfo import ZoneInfo

import pytest
from quiet_hours import QuietHours, is_quiet

from flask_gateway.plugin import ModelNotAllowed
from flask_gateway.testing import GuardConformance, call_of


def at(text: str) -> QuietHours:
    def clock(zone: ZoneInfo) -> datetime:
        return datetime.fromisoformat(f"2026-06-01T{text}+00:00").astimezone(zone)

    return QuietHours("22:00", "06:00", "Europe/Berlin", clock)


class TestQuietHours(GuardConformance):
    def make(self) -> object:
        return at("12:00")


@pytest.mark.parametrize("text", ["20:00", "23:59", "03:59"])
def test_calls_at_quiet_hours_are_refused(text: str) -> None:
    with pytest.raises(ModelNotAllowed, match="after 06:00"):
        at(text).admit(call_of())


@pytest.mark.parametrize("text", ["19:59", "04:00", "12:00"])
def test_calls_at_other_hours_are_admitted(text: str) -> None:
    assert at(text).admit(call_of())


def test_hours_within_a_day() -> None:
    assert [is_quiet(time(hour), time(9), time(17)) for hour in (8, 9, 16, 17)] == [False, True, True, False]


@pytest.mark.parametrize("times", [("22:00", "22:00"), ("25:00", "06:00"), ("22:00", "six")])
def test_wrong_times_refuse_the_start(times: tuple[str, str]) -> None:
    with pytest.raises(ValueError):
        QuietHours(*times)
