"""Sums a batch of settled legs into the rows of the ledger. Pure: it reads no clock and no database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple, TypeVar

import msgspec

from ..model.calendar_windows import Calendar, Starts, Window
from ..model.units import Units
from .lines import Settled

_Row = TypeVar("_Row")

#: The most values of tags that one day keeps apart; the others are summed as ``other``.
TAG_VALUES = 1000
#: The column of a balance, by the order of :class:`~..model.calendar_windows.Window`.
_WINDOWS = tuple(Window)


class Place(NamedTuple):
    """The place of a line: the number of its journal and the offset behind it."""

    journal: int
    offset: int


class Sums:
    """The sums of a group of legs."""

    __slots__ = ("cached", "calls", "cost", "input", "legs", "output", "unpriced")

    def __init__(self) -> None:
        self.calls = self.legs = self.unpriced = self.input = self.cached = self.output = self.cost = 0

    def add(self, line: Settled) -> None:
        units, cost = line.units, line.cost
        if line.leg == 0 and line.source != "adjustment":
            self.calls += 1
        self.legs += 1
        self.input += units.input
        self.cached += units.cached
        self.output += units.output
        if cost is None:
            self.unpriced += 1
        else:
            self.cost += cost

    def merge(self, other: Sums) -> None:
        for name in Sums.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class _Group(NamedTuple):
    """The columns of the rows that a leg counts in.

    :param subject: of an adjustment; empty for others.
    """

    starts: Starts
    hour: int
    key: str
    team: str
    model: str
    user: str
    upstream: str
    source: str
    subject: str


class Batch:
    """Rows for one transaction. Legs that count in the same rows are summed once, for all these rows.

    :param calendar: the time zone of reports and windows.
    :param tags: the tags and values that each day has kept apart so far, by day.
    """

    def __init__(self, calendar: Calendar, tags: dict[int, set[tuple[str, str]]] | None = None) -> None:
        self._calendar = calendar
        self._tags = {} if tags is None else tags
        self._groups: dict[_Group, Sums] = defaultdict(Sums)
        self.charges: list[tuple[object, ...]] = []
        self.tag_days: dict[tuple[int, str, str], Sums] = defaultdict(Sums)

    def add(self, line: Settled, place: Place) -> None:
        """Add a leg, if it is charged."""
        if not line.charged:
            return
        self.charges.append(_charge(line, place))
        starts = self._calendar.starts(line.at)
        self._groups[_group(line, starts)].add(line)
        if line.tags:
            for tag, value in line.tags.items():
                self.tag_days[starts.day, tag, self._value(starts.day, tag, value)].add(line)

    @property
    def buckets(self) -> dict[tuple[int, str, str, str, str, str], Sums]:
        """The sums by hour, as :func:`bucket_of` groups them."""
        return _merged(
            ((group.hour, group.key, group.team, group.model, group.upstream, group.source), sums)
            for group, sums in self._groups.items()
        )

    @property
    def user_days(self) -> dict[tuple[int, str, str], Sums]:
        """The sums by day, owner and end user."""
        return _merged(
            ((group.starts.day, group.team or group.key, group.user), sums)
            for group, sums in self._groups.items()
            if group.user
        )

    @property
    def balances(self) -> dict[tuple[str, str, int], Sums]:
        """The sums by subject, window and the window's start."""
        return _merged(
            ((subject, window, start), sums)
            for group, sums in self._groups.items()
            for subject in _subjects_of(group)
            for window, start in zip(_WINDOWS, group.starts, strict=True)
        )

    def _value(self, day: int, tag: str, value: str) -> str:
        known = self._tags.setdefault(day, set())
        if len(known) >= TAG_VALUES and (tag, value) not in known:
            return "other"
        known.add((tag, value))
        return value


def bucket_of(line: Settled, calendar: Calendar) -> tuple[int, str, str, str, str, str]:
    """The group of a leg in the sums by hour."""
    hour = _hour(line.at, calendar.starts(line.at).day)
    return hour, line.key, line.team, line.model, line.upstream, line.source


def _hour(moment: float, day: int) -> int:
    return day + int(moment - day) // 3600 * 3600


def owner(line: Settled) -> str:
    """The owner of the end user's name: the key's team, or the key. Two teams' users of one name are two."""
    return line.team or line.key


def subjects(line: Settled) -> tuple[str, ...]:
    """The subjects whose balances a leg changes, whether or not they have a budget.

    An adjustment changes one, which stands in the place of the upstream's model.
    """
    if line.source == "adjustment":
        return (line.upstream_model,)
    return _subjects(line.key, line.team, line.model, line.user)


@lru_cache(1024)
def _subjects(key: str, team: str, model: str, user: str) -> tuple[str, ...]:
    found = [f"key:{key}", "all"]
    if model:
        found += (f"key:{key}/model:{model}", f"model:{model}")
    if team:
        found.append(f"team:{team}")
    if team and model:
        found.append(f"team:{team}/model:{model}")
    if user:
        found.append(f"user:{team or key}/{user}")
    return tuple(found)


def _subjects_of(group: _Group) -> tuple[str, ...]:
    return (group.subject,) if group.subject else _subjects(group.key, group.team, group.model, group.user)


def _group(line: Settled, starts: Starts) -> _Group:
    source = line.source
    subject = line.upstream_model if source == "adjustment" else ""
    hour = _hour(line.at, starts.day)
    return _Group(starts, hour, line.key, line.team, line.model, line.user, line.upstream, source, subject)


def _merged(groups: Iterable[tuple[_Row, Sums]]) -> dict[_Row, Sums]:
    merged: dict[_Row, Sums] = defaultdict(Sums)
    for row, sums in groups:
        merged[row].merge(sums)
    return merged


def _charge(line: Settled, place: Place) -> tuple[object, ...]:
    """The row of a leg, in the order of the columns."""
    units = line.units
    plain = Units(input=units.input, cached=units.cached, output=units.output, requests=units.requests)
    return (
        int(line.at),
        place.journal,
        place.offset,
        line.id,
        line.leg,
        line.key,
        line.team,
        line.user,
        line.model,
        line.upstream,
        line.upstream_model,
        line.source,
        line.status,
        units.input,
        units.cached,
        units.output,
        "" if units == plain else _others(units),
        line.rates,
        line.cost,
    )


def _others(units: Units) -> str:
    """The units that have no column of their own, as JSON."""
    others = msgspec.structs.replace(units, input=0, cached=0, output=0, requests=0)
    counts = msgspec.structs.asdict(others)
    return msgspec.json.encode({name: count for name, count in counts.items() if count}).decode()
