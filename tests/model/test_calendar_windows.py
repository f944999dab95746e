"""Windows of budgets: known days, and the laws that hold in every zone."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_gateway.model.calendar_windows import TOTAL, WEEKDAYS, Calendar, Starts, Window, zone

#: Zones with odd clocks: half and quarter hours, clocks that change at midnight, a day that was left out.
ODD = (
    "UTC", "Europe/Berlin", "America/New_York", "Asia/Beirut", "America/Havana", "Asia/Shanghai",
    "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia", "America/Sao_Paulo", "Africa/Cairo",
    "Asia/Tehran", "America/St_Johns", "Pacific/Kwajalein", "Asia/Gaza", "America/Scoresbysund",
)  # fmt: skip
CALENDARS = {name: Calendar(zone(name)) for name in ODD}
HOUR = 3600


def at(text: str, name: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone(name)).timestamp()


@pytest.mark.parametrize(
    ("name", "kind", "moment", "start", "end", "hours"),
    [
        ("Europe/Berlin", Window.DAY, "2026-03-29T12:00", 1774738800, 1774821600, 23),
        ("Europe/Berlin", Window.DAY, "2026-10-25T12:00", 1792879200, 1792969200, 25),
        ("Europe/Berlin", Window.MONTH, "2026-10-15T12:00", 1790805600, 1793487600, 745),
        ("Europe/Berlin", Window.WEEK, "2026-10-28T12:00", 1792969200, 1793574000, 168),
        ("Asia/Beirut", Window.DAY, "2026-03-29T12:00", 1774735200, 1774818000, 23),
        ("America/Havana", Window.DAY, "2024-11-03T12:00", 1730606400, 1730696400, 25),
    ],
)
def test_a_window_of_a_known_day(
    name: str, kind: Window, moment: str, start: int, end: int, hours: int
) -> None:
    assert CALENDARS[name].window(kind, at(moment, name)) == (start, end)
    assert end - start == hours * HOUR


def test_a_month_begins_by_the_clock_of_the_zone() -> None:
    shanghai = CALENDARS["Asia/Shanghai"]
    assert shanghai.window(Window.MONTH, at("2026-07-31T15:59:59")).start == 1782835200
    assert shanghai.window(Window.MONTH, at("2026-07-31T16:00:00")).start == 1785513600


def test_a_week_begins_on_the_day_that_is_set() -> None:
    friday = at("2026-11-27T12:00")
    for first in range(7):
        start = Calendar(week_starts=first).window(Window.WEEK, friday).start
        assert datetime.fromtimestamp(start, zone("UTC")).weekday() == first
    with pytest.raises(ValueError, match="0 \\(Monday\\) to 6"):
        Calendar(week_starts=len(WEEKDAYS))


def test_all_time_is_one_window() -> None:
    assert Calendar().window(Window.TOTAL, 5e9) == TOTAL == (0, 2**53 - 1)


def test_an_unknown_zone_is_told_by_name() -> None:
    for name in ("Mars/Olympus", "", "../etc/passwd", "Europe"):
        with pytest.raises(ValueError, match="is no time zone"):
            zone(name)


moments = st.floats(min_value=at("1975-01-01"), max_value=at("2060-01-01"))
kinds = st.sampled_from([Window.DAY, Window.WEEK, Window.MONTH])


@given(st.sampled_from(ODD), kinds, moments, st.integers(0, 6))
def test_windows_tile_and_contain_their_moments(name: str, kind: Window, moment: float, first: int) -> None:
    calendar = Calendar(zone(name), first)
    start, end = calendar.window(kind, moment)
    assert start <= moment < end
    assert calendar.window(kind, start) == calendar.window(kind, end - 1) == (start, end)
    assert calendar.window(kind, end).start == end
    assert calendar.window(kind, start - 1).end == start


@given(st.sampled_from(ODD), moments)
def test_a_day_begins_at_midnight_or_where_the_clock_skipped_it(name: str, moment: float) -> None:
    start = CALENDARS[name].window(Window.DAY, moment).start
    here, before = (datetime.fromtimestamp(start - ago, zone(name)) for ago in (0, 1))
    assert (here.hour, here.minute, here.second) == (0, 0, 0) or here.utcoffset() != before.utcoffset()
    assert here.date() > before.date()


@given(st.sampled_from(ODD), st.lists(moments, max_size=5))
def test_the_starts_are_those_of_the_windows_whatever_was_looked_at_before(
    name: str, many: list[float]
) -> None:
    calendar = Calendar(zone(name))
    for moment in many:
        expected = [calendar.window(kind, moment).start for kind in Window]
        assert calendar.starts(moment) == Starts(*expected)
