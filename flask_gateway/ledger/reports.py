"""Reads the ledger: usage by day, key, team, model and more; single charges; and whether the sums agree.

Every function takes a connection that only reads. All SQL is constant: a dimension that is not asked for is
grouped as the empty text.
"""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Any

import msgspec

from ..model.calendar_windows import Window
from ..model.money import dollars
from .lines import Opened

#: The dimensions of usage. ``user`` and ``tag`` go with ``day`` alone.
DIMENSIONS = ("day", "key", "team", "model", "upstream", "source", "user", "tag")
#: The sums of an hour.
COUNTS = ("calls", "unpriced", "input", "cached", "output", "cost")
#: The beginnings of a cell that a spreadsheet would run as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
#: The most rows of one report.
MOST_ROWS = 10_000

_BUCKETS = """
SELECT CASE WHEN :day = 1 THEN hour ELSE 0 END AS hour, CASE WHEN :key = 1 THEN key ELSE '' END AS key,
    CASE WHEN :team = 1 THEN team ELSE '' END AS team, CASE WHEN :model = 1 THEN model ELSE '' END AS model,
    CASE WHEN :upstream = 1 THEN upstream ELSE '' END AS upstream,
    CASE WHEN :source = 1 THEN source ELSE '' END AS source,
    sum(calls) AS calls, sum(unpriced) AS unpriced, sum(input) AS input, sum(cached) AS cached,
    sum(output) AS output, sum(cost) AS cost
FROM (
    SELECT hour, key, team, model, upstream, source, calls, unpriced, input, cached, output, cost FROM bucket
    UNION ALL
    SELECT day, key, team, model, upstream, source, calls, unpriced, input, cached, output, cost FROM day
) AS sums
WHERE hour >= :since AND hour < :until GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, sum(cost) DESC
"""
_USERS = """
SELECT CASE WHEN :day = 1 THEN day ELSE 0 END AS hour, owner || '/' || user AS user, sum(calls) AS calls,
    sum(input) AS input, sum(output) AS output, sum(cost) AS cost
FROM user_day WHERE day >= :since AND day < :until GROUP BY 1, 2 ORDER BY 1, cost DESC
"""
_TAGS = """
SELECT CASE WHEN :day = 1 THEN day ELSE 0 END AS hour, tag || '=' || value AS tag, sum(calls) AS calls,
    sum(input) AS input, sum(output) AS output, sum(cost) AS cost
FROM tag_day WHERE day >= :since AND day < :until GROUP BY 1, 2 ORDER BY 1, cost DESC
"""
_CHARGES = """
SELECT at, journal, offset, id, leg, key, team, user, model, upstream, upstream_model, source, status, input,
    cached, output, units, rates, cost
FROM charge
WHERE (:id = '' OR id = :id) AND (:key = '' OR key = :key)
    AND (at, journal, offset) > (:at, :journal, :offset)
ORDER BY at, journal, offset LIMIT :limit
"""
_SPEND = """
WITH windows (window, start) AS (VALUES ('day', :day), ('week', :week), ('month', :month), ('total', :total))
SELECT balance.subject, balance.window, balance.cost FROM json_each(:subjects) AS asked CROSS JOIN windows
JOIN balance ON balance.subject = asked.value AND balance.window = windows.window
    AND balance.start = windows.start
"""
_END_USERS = """
SELECT subject FROM balance
WHERE subject >= :first AND subject < :end AND subject > :after AND window = 'total'
ORDER BY subject LIMIT :limit
"""
#: Counts and sums that must be equal, each as charges say and as the sums say.
_CHECKS = {
    "the cost of all charges": (
        "SELECT coalesce(sum(cost), 0) FROM charge",
        "SELECT coalesce(sum(cost), 0) FROM bucket",
    ),
    "the number of charges": ("SELECT count(*) FROM charge", "SELECT coalesce(sum(legs), 0) FROM bucket"),
    # An adjustment changes the balance of one subject alone.
    "the total of all calls": (
        "SELECT (SELECT coalesce(sum(cost), 0) FROM bucket WHERE source <> 'adjustment') + "
        "(SELECT coalesce(sum(cost), 0) FROM charge WHERE source = 'adjustment' AND upstream_model = 'all')",
        "SELECT coalesce(sum(cost), 0) FROM balance WHERE subject = 'all' AND window = 'total'",
    ),
}


class ReportError(ValueError):
    """The report cannot be made. The text says why."""


def usage(
    connection: sqlite3.Connection, by: Collection[str], since: float, until: float, zone: tzinfo
) -> list[dict[str, Any]]:
    """Return the sums of usage, a row for each group; amounts in US dollars as text.

    :param by: of :data:`DIMENSIONS`. :param since: epoch seconds; ``until`` is not included.
    :raises ReportError: the dimensions do not go together, or are not known.
    """
    unknown = sorted(set(by) - set(DIMENSIONS))
    if unknown:
        raise ReportError(f"{unknown[0]!r} is no dimension; known are {', '.join(DIMENSIONS)}")
    alone = {"user", "tag"} & set(by)
    if alone and len(set(by) - {"day"}) > 1:
        raise ReportError(f"{min(alone)} goes with day alone")
    statement = _USERS if "user" in by else _TAGS if "tag" in by else _BUCKETS
    asked = {name: int(name in by) for name in DIMENSIONS} | {"since": int(since), "until": int(until)}
    sums: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in _rows(connection, statement, asked):
        hour = row.pop("hour")
        row["day"] = datetime.fromtimestamp(hour, zone).date().isoformat() if "day" in by else ""
        _add(sums, row, [name for name in DIMENSIONS if name in by])
    return [{**row, "cost": dollars(row["cost"])} for row in list(sums.values())[:MOST_ROWS]]


def with_unknown(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows of :func:`usage` with ``None`` as the cost where no price is known: that is not 0."""
    return [
        {**row, "cost": None if row.get("unpriced") and not row["cost"].strip("0.") else row["cost"]}
        for row in rows
    ]


def _add(sums: dict[tuple[str, ...], dict[str, Any]], row: dict[str, Any], by: Sequence[str]) -> None:
    """Add a row to its group. The hours of a day come one by one."""
    counts = {name: count for name, count in row.items() if name not in DIMENSIONS}
    group = {name: row[name] for name in by}
    known = sums.setdefault(tuple(group.values()), {**group, **dict.fromkeys(counts, 0)})
    for name, count in counts.items():
        known[name] += count


def days(since: str | None, until: str | None, zone: tzinfo, now: float) -> tuple[float, float]:
    """Return the moments at which two days begin, epoch seconds.

    :param since: ``YYYY-MM-DD``; ``None``: the first of this month. :param until: ``None``: tomorrow.
    :raises ReportError: a date is none.
    """
    today = datetime.fromtimestamp(now, zone).date()
    try:
        first = date.fromisoformat(since) if since else today.replace(day=1)
        last = date.fromisoformat(until) if until else today + timedelta(1)
    except ValueError as error:
        raise ReportError(f"{error}; expected a date such as 2026-11-01") from None
    begin, end = (datetime.combine(day, time(), zone).timestamp() for day in (first, last))
    return begin, end


def charges(
    connection: sqlite3.Connection,
    *,
    request_id: str = "",
    key: str = "",
    after: tuple[int, int, int] = (0, 0, 0),
    limit: int = 100,
) -> list[dict[str, Any]]:
    """Return single charges, oldest first.

    :param after: ``at``, ``journal`` and ``offset`` of the last row of the page before.
    """
    at, journal, offset = after
    asked = {"id": request_id, "key": key, "at": at, "journal": journal, "offset": offset, "limit": limit}
    found = list(_rows(connection, _CHARGES, asked))
    return [{**row, "cost": None if row["cost"] is None else dollars(row["cost"])} for row in found]


def spend(
    connection: sqlite3.Connection, subjects: Sequence[str], starts: Sequence[int]
) -> dict[str, dict[str, str]]:
    """Return what each subject has spent in the day, week, month and in total, US dollars.

    :param starts: of those windows, epoch seconds.
    """
    windows = [window.value for window in Window]
    found = {subject: dict.fromkeys(windows, 0) for subject in subjects}
    asked = dict(zip(windows, starts, strict=True))
    rows = connection.execute(_SPEND, {"subjects": json.dumps(subjects), **asked})
    for subject, window, cost in rows:
        found[subject][window] = cost
    return {
        subject: {window: dollars(cost) for window, cost in costs.items()} for subject, costs in found.items()
    }


def held(connection: sqlite3.Connection, subject: str) -> str:
    """Return the US dollars that calls in flight hold in the account of a subject, as the ledger knows them.

    It knows a call within a second of its beginning.
    """
    lines = connection.execute("SELECT line FROM in_flight").fetchall()
    opened = (msgspec.json.decode(line, type=Opened) for (line,) in lines)
    return dollars(sum(hold.amount for one in opened for hold in one.holds if hold.subject == subject))


def by_hour(
    connection: sqlite3.Connection, by: Collection[str], since: int, until: int
) -> list[dict[str, Any]]:
    """Return the sums of usage of each hour, a row for each group; costs in nano-dollars.

    :param by: of ``key``, ``team``, ``model``, ``upstream`` and ``source``. :param since: epoch seconds.
    """
    groups = {name: int(name in by or name == "day") for name in DIMENSIONS}
    return list(_rows(connection, _BUCKETS, {**groups, "since": since, "until": until}))


def end_users(connection: sqlite3.Connection, owner: str, after: str, limit: int) -> list[tuple[str, str]]:
    """Return owners and names of end users that have calls in the ledger, in their order.

    :param owner: a team, or a key without one; empty: all.
    :param after: the last owner, a slash, and the last name of the page before; empty: from the first.
    """
    first, end = (f"user:{owner}/", f"user:{owner}0") if owner else ("user:", "user;")  # 0 comes after /
    asked = {"first": first, "end": end, "after": f"user:{after}", "limit": limit}
    found = [subject for (subject,) in connection.execute(_END_USERS, asked).fetchall()]
    return [(owner, name) for owner, _, name in (one.removeprefix("user:").partition("/") for one in found)]


def disagreements(connection: sqlite3.Connection) -> Iterator[str]:
    """Yield what is wrong with the database: damage, and sums that differ."""
    for (told,) in connection.execute("PRAGMA integrity_check").fetchall():
        if told != "ok":
            yield told
    pruned = connection.execute("SELECT charges FROM pruned").fetchone()[0]
    for name, (one, other) in _CHECKS.items():
        if pruned:  # the sums outlive the charges
            continue
        first, second = connection.execute(one).fetchone()[0], connection.execute(other).fetchone()[0]
        if first != second:
            yield f"{name} is {first} in one table and {second} in another"


def unpriced(connection: sqlite3.Connection) -> list[tuple[str, str, int]]:
    """Return the upstreams and models whose price is unknown, each with its number of charges."""
    return connection.execute(
        "SELECT upstream, upstream_model, count(*) FROM charge WHERE cost IS NULL AND source <> 'lost' "
        "GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 100"
    ).fetchall()


def _rows(connection: sqlite3.Connection, statement: str, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    cursor = connection.execute(statement, asked)
    names = [column[0] for column in cursor.description]
    for row in cursor:
        yield dict(zip(names, row, strict=True))


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as CSV. A cell that a spreadsheet would run as a formula begins with a quote."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for number, row in enumerate(rows):
        if number == 0:
            writer.writerow(row)
        writer.writerow(["" if value is None else _safe(str(value)) for value in row.values()])
    return text.getvalue()


def _safe(cell: str) -> str:
    number = cell.removeprefix("-").replace(".", "", 1).isdecimal()
    return f"'{cell}" if cell.startswith(_FORMULA) and not number else cell
