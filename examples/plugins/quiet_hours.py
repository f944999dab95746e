"""Refuses calls at certain hours of every day, for example while a machine is backed up or power is dear.

[plugins.quiet]
use = "quiet_hours:QuietHours"
models = ["big-local-model"]
options = { begin = "22:00", end = "06:00", timezone = "Europe/Berlin" }
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, time
from zoneinfo import ZoneInfo

from flask_gateway.plugin import NO_PERMIT, Call, ModelNotAllowed, Permit


class QuietHours:
    """A guard.

    :param begin: the time of day when it begins to refuse.
    :param end: when it admits again; an earlier time is that of the next day.
    :param timezone: of both times. :param clock: returns the present time in a zone.
    """

    api = 1

    def __init__(
        self,
        begin: str,
        end: str,
        timezone: str = "UTC",
        clock: Callable[[ZoneInfo], datetime] = datetime.now,
    ) -> None:
        self._begin, self._end = time.fromisoformat(begin), time.fromisoformat(end)
        if self._begin == self._end:
            raise ValueError("begin and end must be two times")
        self._zone, self._clock = ZoneInfo(timezone), clock

    def admit(self, call: Call) -> Permit:
        """Return a permit that settles nothing.

        :raises ModelNotAllowed: it is a quiet hour. Clients do not retry that.
        """
        if is_quiet(self._clock(self._zone).time(), self._begin, self._end):
            until = self._end.isoformat("minutes")
            raise ModelNotAllowed(
                f"'{call.model}' is not served now. Call it again after {until} ({self._zone})."
            )
        return NO_PERMIT


def is_quiet(now: time, begin: time, end: time) -> bool:
    """Whether a time of day lies between two others, which may be on two days."""
    return begin <= now < end if begin < end else now >= begin or now < end
