"""Sums a batch of settled legs into the rows of the ledger. Pure: it reads no clock and no database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from ..model.calendar_windows import Calendar, Window
from .lines import Settled

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
        self.calls += line.leg == 0 and line.source != "adjustment"
        self.legs += 1
        self.unpriced += line.cost is None
        self.input += line.units.input
        self.cached += line.units.cached
        self.output += line.units.output
        self.cost += line.cost or 0


class Batch:
    """Rows for one transaction.

    :param calendar: the time zone of reports and windows.
    :param tags: the tags and values that each day has kept apart so far, by day.
    """

    def __init__(self, calendar: Calendar, tags: dict[int, set[tuple[str, str]]] | None = None) -> None:
        self._calendar = calendar
        self._tags = {} if tags is None else tags
        self.charges: list[dict[str, object]] = []
        self.buckets: dict[tuple[int, str, str, str, str, str], Sums] = defaultdict(Sums)
        self.tag_days: dict[tuple[int, str, str], Sums] = defaultdict(Sums)
        self.user_days: dict[tuple[int, str, str], Sums] = defaultdict(Sums)
        self.balances: dict[tuple[str, str, int], Sums] = defaultdict(Sums)

    def add(self, line: Settled, place: Place) -> None:
        """Add a leg, if it is charged."""
        if not line.charged:
            return
        self.charges.append(_charge(line, place))
        starts = self._calendar.starts(line.at)
        self.buckets[bucket_of(line, self._calendar)].add(line)
        for tag, value in line.tags.items():
            self.tag_days[starts.day, tag, self._value(starts.day, tag, value)].add(line)
        if line.user:
            self.user_days[starts.day, owner(line), line.user].add(line)
        for subject in subjects(line):
            for window, start in zip(_WINDOWS, starts, strict=True):
                self.balances[subject, window, start].add(line)

    def _value(self, day: int, tag: str, value: str) -> str:
        known = self._tags.setdefault(day, set())
        if len(known) >= TAG_VALUES and (tag, value) not in known:
            return "other"
        known.add((tag, value))
        return value


def bucket_of(line: Settled, calendar: Calendar) -> tuple[int, str, str, str, str, str]:
    """The group of a leg in the sums by hour."""
    day = calendar.starts(line.at).day
    hour = day + int(line.at - day) // 3600 * 3600
    return hour, line.key, line.team, line.model, line.upstream, line.source


def owner(line: Settled) -> str:
    """The owner of the end user's name: the key's team, or the key. Two teams' users of one name are two."""
    return line.team or line.key


def subjects(line: Settled) -> Iterator[str]:
    """The subjects whose balances a leg changes, whether or not they have a budget.

    An adjustment changes one, which stands in the place of the upstream's model.
    """
    if line.source == "adjustment":
        yield line.upstream_model
        return
    yield f"key:{line.key}"
    yield "all"
    if line.model:
        yield f"key:{line.key}/model:{line.model}"
        yield f"model:{line.model}"
    if line.team:
        yield f"team:{line.team}"
    if line.team and line.model:
        yield f"team:{line.team}/model:{line.model}"
    if line.user:
        yield f"user:{owner(line)}/{line.user}"


def _charge(line: Settled, place: Place) -> dict[str, object]:
    others = msgspec.structs.replace(line.units, input=0, cached=0, output=0, requests=1)
    units = {
        name: count for name, count in msgspec.structs.asdict(others).items() if count and name != "requests"
    }
    return {
        "at": int(line.at),
        "journal": place.journal,
        "offset": place.offset,
        "id": line.id,
        "leg": line.leg,
        "key": line.key,
        "team": line.team,
        "user": line.user,
        "model": line.model,
        "upstream": line.upstream,
        "upstream_model": line.upstream_model,
        "source": line.source,
        "status": line.status,
        "input": line.units.input,
        "cached": line.units.cached,
        "output": line.units.output,
        "units": msgspec.json.encode(units).decode() if units else "",
        "rates": line.rates,
        "cost": line.cost,
    }
