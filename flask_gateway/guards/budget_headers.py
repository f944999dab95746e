"""Words budgets for response headers."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

from ..model.calendar_windows import Calendar, Window
from ..model.money import dollars

#: The windows of budgets, in the order of an account.
WINDOWS = tuple(Window)
_TOTAL = WINDOWS.index(Window.TOTAL)
#: Windows whose ends are remembered.
_REMEMBERED = 64
#: The limits of budgets as text: they are few.
_dollars_of = lru_cache(4096)(dollars)


class BudgetHeaders:
    """Words budgets for response headers.

    :param tell: whether callers are shown amounts.
    """

    def __init__(self, calendar: Calendar, *, tell: bool) -> None:
        self._calendar = calendar
        self.tell = tell
        self._ends: dict[tuple[int, int], str] = {}

    def of(self, subject: str, limit: int, window: int, left: int, start: int) -> dict[str, str]:
        """:param window: by its index. :param start: of the window, epoch seconds."""
        headers = {"x-gateway-budget": _name(subject, window)}
        if self.tell:
            headers["x-gateway-budget-limit"] = _dollars_of(limit)
            headers["x-gateway-budget-remaining"] = dollars(left)
        if end := self.reset(window, start):
            headers["x-gateway-budget-reset"] = end
        return headers

    def reset(self, window: int, start: int) -> str:
        """The end of a window (RFC 3339); empty for all time."""
        if window == _TOTAL:
            return ""
        end = self._ends.get((window, start))
        if end is None:
            if len(self._ends) >= _REMEMBERED:
                self._ends.clear()
            moment = self._calendar.window(WINDOWS[window], start).end
            end = datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            self._ends[window, start] = end
        return end


def kind_of(subject: str) -> str:
    """Name the kind of a subject: ``key``, ``team``, ``user``, ``model``, ``all``, or ``key-model`` and the
    like."""
    kind = subject.partition(":")[0]
    return f"{kind}-model" if kind in ("key", "team") and "/model:" in subject else kind


@lru_cache(4096)
def _name(subject: str, window: int) -> str:
    """The budget that a caller is shown, such as ``key/month``."""
    return f"{kind_of(subject)}/{WINDOWS[window]}"
