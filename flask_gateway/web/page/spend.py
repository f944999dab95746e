"""Serves ``/ui/spend``: what calls cost by day, model, key, team and upstream, from the ledger alone."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from datetime import date, datetime, tzinfo
from decimal import Decimal
from typing import Any, NamedTuple

from flask import Response, request

from ...ledger.reports import as_csv, days, usage
from ...model.calendar_windows import zone
from ..admin.ledger import reading
from ..request_state import gateway
from .access import SAFE
from .chart import Chart, stacked
from .rendering import page, query, render

#: The dimensions that the page groups by.
BY = ("model", "key", "team", "upstream", "day")
#: How many groups the chart shows by name, and how many rows the table has.
_NAMED, _ROWS = 3, 100
_MONTH = re.compile(r"(20[0-9]{2})-(0[1-9]|1[0-2])", re.ASCII)


class SpendGroup(NamedTuple):
    """The cost of a group of calls. Amounts in US dollars.

    :param estimated: the part of the cost that is estimated.
    """

    name: str
    calls: int
    unpriced: int
    input: int
    cached: int
    output: int
    cost: Decimal
    estimated: Decimal

    @property
    def estimated_share(self) -> str:
        return f"{100 * self.estimated / self.cost:.0f} %" if self.estimated and self.cost else ""


def month_of(text: str | None, today: date) -> tuple[int, int]:
    """The year and the month of a text such as ``2026-11``; this month if it is none."""
    match = _MONTH.fullmatch(text or "")
    return (int(match[1]), int(match[2])) if match else (today.year, today.month)


def next_month(year: int, month: int, step: int = 1) -> tuple[int, int]:
    """The month so many months later."""
    number = 12 * year + month - 1 + step
    return number // 12, number % 12 + 1


def groups_of(rows: Sequence[Mapping[str, Any]], by: str) -> list[SpendGroup]:
    """Add up rows by a dimension; rows come with their source. The dearest first, days in their order."""
    found: dict[str, SpendGroup] = {}
    for row in rows:
        before = found.get(row[by], SpendGroup(row[by], 0, 0, 0, 0, 0, Decimal(0), Decimal(0)))
        cost = Decimal(row["cost"])
        counts = {
            name: getattr(before, name) + row[name]
            for name in ("calls", "unpriced", "input", "cached", "output")
        }
        guess = Decimal(0) if row["source"] == "reported" else cost
        found[row[by]] = before._replace(
            **counts, cost=before.cost + cost, estimated=before.estimated + guess
        )
    return sorted(found.values(), key=lambda group: group.name if by == "day" else -group.cost)


def total(groups: Sequence[SpendGroup]) -> SpendGroup:
    """The sum of all groups."""
    sums = [sum(values) for values in zip(*(group[1:] for group in groups), strict=True)] or [0] * 7
    return SpendGroup("all", *sums)  # type: ignore[arg-type]


def daily(rows: Sequence[Mapping[str, Any]], by: str, names: Sequence[str], dates: Sequence[str]) -> Chart:
    """The cost of each day as a chart: the dearest groups by name, then all others."""
    series = {name: [0.0] * len(dates) for name in (*names, "others")}
    places = {day: place for place, day in enumerate(dates)}
    for row in rows:
        if row["day"] in places:
            name = row[by] if row[by] in names else "others"
            series[name][places[row["day"]]] += float(row["cost"])
    return stacked({name or "no name": values for name, values in series.items() if any(values)})


class SpendWanted(NamedTuple):
    """The month and the dimension that are asked for, with the moments of its beginning and end."""

    year: int
    month: int
    by: str
    since: float
    until: float
    zone: tzinfo

    @property
    def text(self) -> str:
        return f"{self.year}-{self.month:02}"

    @property
    def dates(self) -> list[str]:
        first = date(self.year, self.month, 1)
        length = (date(*next_month(self.year, self.month), 1) - first).days
        return [date(self.year, self.month, day + 1).isoformat() for day in range(length)]


def _wanted() -> SpendWanted:
    timezone = zone(gateway().settings.ledger.timezone)
    year, month = month_of(request.args.get("month"), datetime.now(timezone).date())
    after = next_month(year, month)
    by = request.args.get("by", BY[0])
    since, until = days(f"{year}-{month:02}-01", f"{after[0]}-{after[1]:02}-01", timezone, time.time())
    return SpendWanted(year, month, by if by in BY else BY[0], since, until, timezone)


@page("spend")
def show_spend() -> Response:
    wanted = _wanted()
    with reading() as connection:
        rows = usage(connection, {wanted.by, "source"}, wanted.since, wanted.until, wanted.zone)
        each_day = usage(connection, {wanted.by, "day"}, wanted.since, wanted.until, wanted.zone)
    groups = groups_of(rows, wanted.by)
    names = [group.name for group in groups[:_NAMED]] if wanted.by != "day" else []
    return render(
        "spend.html",
        title="Spend",
        formats={"CSV by day": f"spend.csv?{query(month=wanted.text, by=wanted.by)}"},
        wanted=wanted,
        dimensions=BY,
        groups=groups[:_ROWS],
        more=max(0, len(groups) - _ROWS),
        total=total(groups),
        chart=daily(each_day, wanted.by, names, wanted.dates),
        before="{}-{:02}".format(*next_month(wanted.year, wanted.month, -1)),
        after="{}-{:02}".format(*next_month(wanted.year, wanted.month)),
    )


@page("spend.csv")
def spend_csv() -> Response:
    wanted = _wanted()
    with reading() as connection:
        rows = usage(connection, {wanted.by, "day"}, wanted.since, wanted.until, wanted.zone)
    return Response(as_csv(rows), content_type="text/csv; charset=utf-8", headers=SAFE)
