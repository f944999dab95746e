"""Finds the calendar window of a moment: the day, week or month of a time zone, or all time.

A window is a pure function of the moment, so no job resets a budget. Windows tile: one ends where the next
begins. A day begins at midnight; at the first of two midnights where the clock goes back over it; and where
the clock skips midnight, at the moment of the skip.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


class Window(StrEnum):
    """The windows of a budget, in the order in which an account keeps them."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    TOTAL = "total"


class Span(NamedTuple):
    """A window in epoch seconds: from ``start``, before ``end``."""

    start: int
    end: int


#: All time. Its end is the largest integer that a double represents with all below it.
TOTAL = Span(0, 2**53 - 1)

#: The days of the week by their names, Monday first.
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


class Starts(NamedTuple):
    """Where the current window of each kind began, epoch seconds, in the order of :class:`Window`."""

    day: int
    week: int
    month: int
    total: int = TOTAL.start


def zone(name: str) -> tzinfo:
    """Return a time zone of the IANA database.

    :param name: such as ``Europe/Berlin``. ``UTC`` needs no database.
    :raises ValueError: there is no such zone, or the system has no database of zones.
    """
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            f"{name!r} is no time zone that this system knows; expected a name such as Europe/Berlin or UTC "
            "(on Debian, the package tzdata has them)"
        ) from error


class Calendar:
    """The windows of one time zone.

    Threads may share one. It remembers the current day, so most calls compare two integers.

    :param week_starts: the first day of a week, 0 for Monday to 6 for Sunday.
    """

    def __init__(self, zone: tzinfo = UTC, week_starts: int = 0) -> None:
        if not 0 <= week_starts <= 6:
            raise ValueError(f"week_starts is {week_starts}; expected 0 (Monday) to 6 (Sunday)")
        self._zone = zone
        self._week_starts = week_starts
        self._today: tuple[Span, Starts] = (Span(0, 0), Starts(0, 0, 0))

    def window(self, kind: Window, moment: float) -> Span:
        """Return the window of a kind that contains the moment.

        :param moment: epoch seconds, of year 2 to 9998.
        """
        if kind is Window.TOTAL:
            return TOTAL
        first, following = _BOUNDS[kind]
        begin = first(self._date(moment), self._week_starts)
        return Span(self._begins(begin), self._begins(following(begin)))

    def starts(self, moment: float) -> Starts:
        """Return where the window of each kind began that contains the moment."""
        day, starts = self._today
        if day.start <= moment < day.end:
            return starts
        day = self.window(Window.DAY, moment)
        week, month = self.window(Window.WEEK, moment), self.window(Window.MONTH, moment)
        starts = Starts(day.start, week.start, month.start)
        self._today = (day, starts)  # one assignment: threads see both or neither
        return starts

    def _date(self, moment: float) -> date:
        """Return the day whose window contains the moment.

        The local date is not always that day: where the clock goes back over midnight, the old date returns
        after the new day has begun.
        """
        day = datetime.fromtimestamp(moment, self._zone).date()
        while moment >= self._begins(day + timedelta(1)):
            day += timedelta(1)
        while moment < self._begins(day):
            day -= timedelta(1)
        return day

    def _begins(self, day: date) -> int:
        """Return the first moment of a day, epoch seconds."""
        midnight = datetime(day.year, day.month, day.day, tzinfo=self._zone)
        moment = int(midnight.timestamp())
        if self._local(moment) == midnight.replace(tzinfo=None):
            return moment
        return self._skip(midnight.replace(tzinfo=None), moment)

    def _skip(self, midnight: datetime, moment: int) -> int:
        """Return the moment at which the clock skipped over a midnight.

        ``moment`` is midnight by the clock before the skip, so it is at or after the skip. No skip is longer
        than a day.
        """
        before, after = moment - 2 * 86400, moment
        while after - before > 1:
            middle = (before + after) // 2
            before, after = (before, middle) if self._local(middle) > midnight else (middle, after)
        return after

    def _local(self, moment: int) -> datetime:
        return datetime.fromtimestamp(moment, self._zone).replace(tzinfo=None, fold=0)


def _next_month(day: date) -> date:
    return (day.replace(day=1) + timedelta(32)).replace(day=1)


#: For each kind: the first day of the window of a day, and the first day of the window after it.
_BOUNDS: dict[Window, tuple[Callable[[date, int], date], Callable[[date], date]]] = {
    Window.DAY: (lambda day, _: day, lambda day: day + timedelta(1)),
    Window.WEEK: (
        lambda day, first: day - timedelta((day.weekday() - first) % 7),
        lambda day: day + timedelta(7),
    ),
    Window.MONTH: (lambda day, _: day.replace(day=1), _next_month),
}
