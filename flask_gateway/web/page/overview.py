"""Serves ``/ui/overview``: what goes on, what is broken, and since when."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from flask import Response, request
from msgspec.structs import asdict

from ...app.build import Gateway
from ...guards.breaker import BreakerStatus
from ...telemetry.exposition import live_streams
from ...telemetry.notes import Note
from ...telemetry.page_rings import PageRings
from ...telemetry.pulse import COARSE, FINE, Counts, Resolution, added, percentile
from ..request_state import gateway
from .attempts import FailureRow, failure_rows, to_do
from .chart import Chart, lines, stacked
from .health import findings
from .rendering import as_json, page, query, render
from .shown import NONE, shown_seconds

#: The ranges that the page shows, by their name in the URL.
RANGES = {"30m": (FINE, "30 min"), "24h": (COARSE, "24 h")}
#: The rows of the tables below the charts.
_ROWS = 12
_NOTES = 10
#: Among how many requests the last failures of an upstream are looked for.
_LOOK = 300


class Card(NamedTuple):
    """One figure. ``more``: what else to know about it."""

    title: str
    value: str
    more: str = ""


class UpstreamLine(NamedTuple):
    """One upstream with the worst of its breakers. ``state``: as :func:`state_of` says it.

    :param since: when the first of its failures in a row ended, seconds since the epoch.
    :param last: the result of its last attempt, if it failed.
    """

    name: str
    state: str
    words: str
    failed: int
    requests: int
    since: float | None
    last: str

    @property
    def to_do(self) -> str:
        return to_do(self.last)


def state_of(statuses: Sequence[BreakerStatus]) -> tuple[str, str]:
    """The worst state of an upstream's breakers, and the sentence about it."""
    if out := max((status.taken_out for status in statuses), default=0):
        return "taken out", f"by an admin, for {shown_seconds(out)} more"
    for status in statuses:
        if status.state == "OPEN":
            wait = f"probe in {status.retry_after:.0f} s" if status.retry_after else "the next call probes"
            return "open", f"{_of_model(status)}{status.failures} failures in a row, {wait}"
    for status in statuses:
        if status.state == "HALF_OPEN":
            return "half open", f"{_of_model(status)}a probe is in flight"
    for status in statuses:
        if status.credential_refused:
            return "credential refused", f"{_of_model(status)}check its API key; others are tried first"
    for status in statuses:
        if status.cooling or status.paused_models:
            wait = f" for {status.retry_after:.0f} s" if status.retry_after else ""
            return "pausing", f"{_of_model(status)}it asked for a pause (429){wait}"
    return "closed", ""


def _of_model(status: BreakerStatus) -> str:
    return f"model {status.model}: " if status.model else ""


def upstream_lines(
    statuses: Sequence[BreakerStatus],
    counts: Mapping[str, Counts],
    failures: Mapping[str, FailureRow],
) -> list[UpstreamLine]:
    """One line for each upstream, the broken ones first."""
    lines = []
    for name in dict.fromkeys(status.upstream for status in statuses):
        state, words = state_of([status for status in statuses if status.upstream == name])
        count, row = counts.get(name, Counts(0)), failures.get(name)
        last, since = (row.last, row.since) if row else ("", None)
        lines.append(UpstreamLine(name, state, words, count.failed, count.requests, since, last))
    return sorted(lines, key=lambda line: (line.state == "closed", line.since is None))


def cards(
    counts: Sequence[Counts], whole: Counts, scale: Resolution, streams: int, threads: str
) -> list[Card]:
    """The figures of a range, and of its last minute where a rate is meant. :param whole: the sum."""
    recent = added(counts[-max(1, 60 // scale.seconds) - 1 : -1])
    minutes = max(scale.seconds, 60) / 60
    median, late = percentile(whole.classes, 0.5), percentile(whole.classes, 0.95)
    first = f"{_about(median)} / {_about(late)}" if median is not None else NONE
    return [
        Card("Requests a minute", f"{recent.requests / minutes:.0f}", f"{whole.requests} in all"),
        Card("Failed", _share(whole.failed, whole.requests), f"{whole.failed} requests"),
        Card("Refused", str(whole.refused), "limits, wrong keys, bad requests"),
        Card("First byte p50 / p95", first, "estimated" if median is not None else "no answer yet"),
        Card("Tokens in / out", f"{_k(whole.prompt_tokens)} / {_k(whole.completion_tokens)}", "in all"),
        Card("Live streams", str(streams), threads),
    ]


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else NONE


def _about(seconds: float | None) -> str:
    return NONE if seconds is None else f"{seconds:.2g} s"


def _k(value: int) -> str:
    return f"{value / 1000:.0f} k" if value >= 10_000 else str(value)


def charts(counts: Sequence[Counts]) -> dict[str, Chart]:
    """The three charts of a range."""
    return {
        "requests": stacked(
            {name: [getattr(one, name) for one in counts] for name in ("ok", "left", "refused", "failed")}
        ),
        "first": lines(
            {
                "p50": [percentile(one.classes, 0.5) for one in counts],
                "p95": [percentile(one.classes, 0.95) for one in counts],
            }
        ),
        "tokens": stacked(
            {
                "in": [one.prompt_tokens for one in counts],
                "out": [one.completion_tokens for one in counts],
            }
        ),
    }


def table(counts: Sequence[Counts]) -> list[Counts]:
    """The same counts in fewer, longer periods, the newest first."""
    length = -(-len(counts) // _ROWS)
    return [added(counts[start : start + length]) for start in range(0, len(counts), length)][::-1]


def recent_notes(rings: PageRings | None, most: int) -> list[Note]:
    return list(islice(rings.notes(), most)) if rings else []


def overview_values(here: Gateway, wanted: str = "30m") -> dict[str, Any]:
    """The figures of the overview for a range, which is a name in :data:`RANGES`."""
    now, (scale, spoken) = time.time(), RANGES[wanted]
    rings, statuses = here.rings, [breaker.status() for breaker in here.breakers]
    counts = rings.counts(scale, now) if rings else [Counts(0)]
    by_upstream = rings.counts_of_upstreams(now) if rings else {}
    failures = failure_rows(rings.latest(_LOOK)) if rings else {}
    live = live_streams()
    threads = f"{here.inflight.threads} threads of this worker are busy"
    all_lines, rows = upstream_lines(statuses, by_upstream, failures), table(counts)
    whole = added(rows)
    return {
        "spoken": spoken,
        "troubled": [line for line in all_lines if line.state != "closed" or line.since],
        "cards": cards(counts, whole, scale, here.inflight.streams if live is None else live, threads),
        "charts": charts(counts),
        "table": rows,
        "whole": whole,
        "upstreams": all_lines,
        "broken": [one for one in findings(here, now) if not one.good and one.subject != "store"],
        "notes": recent_notes(rings, _NOTES),
        "is_kept": rings is not None,
        "scale": scale,
    }


def _wanted() -> str:
    wanted = request.args.get("range", "30m")
    return wanted if wanted in RANGES else "30m"


@page("overview")
def show_overview() -> Response:
    wanted = _wanted()
    values = overview_values(gateway(), wanted)
    formats = {"JSON": f"overview.json?{query(range=wanted)}"}
    return render("overview.html", title="Overview", formats=formats, range=wanted, ranges=RANGES, **values)


@page("overview.json")
def overview_json() -> Response:
    """The figures of the page, and the counts of each period without the classes of time."""
    here, wanted = gateway(), _wanted()
    values, rings, scale = overview_values(here, wanted), here.rings, RANGES[wanted][0]
    periods = rings.counts(scale, time.time()) if rings else []
    shown = {name: [one._asdict() for one in values[name]] for name in ("cards", "upstreams", "broken")}
    shown["notes"] = [asdict(note) for note in values["notes"]]
    counts = [{name: getattr(one, name) for name in one._fields if name != "classes"} for one in periods]
    return as_json(shown, seconds=scale.seconds, periods=counts)
