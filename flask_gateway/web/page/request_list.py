"""Serves ``/ui/requests``, one request with its attempts, and the same as JSON and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from flask import Response, request

from ...app.build import Gateway
from ...model.money import dollars
from ...telemetry.page_rings import PageRings
from ...telemetry.recent import EndKind, RequestEntry, marked_by, needle
from ..request_state import gateway
from .access import SAFE
from .chart import waterfall
from .rendering import as_json, page, query, render, weight, within

#: Requests on a page, and in a file.
PAGE, MOST = 50, 10_000
#: The most bytes that the texts of strangers take on a page.
_MOST_HTML = 24_000
#: The columns of the CSV.
COLUMNS = tuple(name for name in RequestEntry.__struct_fields__ if name not in ("attempts", "cost"))
#: A spreadsheet would take a cell that begins so for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Filter(NamedTuple):
    """Which requests to show. Empty fields fit all.

    :param status: a kind of end (``failed``), or a status (``429``). :param before: seconds since the epoch.
    :param failed_at: an upstream at which an attempt failed, however the request ended.
    """

    key: str = ""
    model: str = ""
    upstream: str = ""
    status: str = ""
    code: str = ""
    id: str = ""
    failed_at: str = ""
    before: float | None = None

    @property
    def named(self) -> dict[str, str]:
        """The fields without the place in the list."""
        return {name: value for name, value in self._asdict().items() if name != "before"}

    @property
    def is_set(self) -> bool:
        return any(self.named.values())

    @property
    def needles(self) -> list[bytes]:
        """The bytes that every entry has which fits."""
        return [needle(text) for name, text in self.named.items() if text and name != "status"]

    def fits(self, entry: RequestEntry) -> bool:
        return (
            (self.before is None or entry.at < self.before)
            and self.key in ("", entry.key)
            and self.model in ("", entry.model, entry.upstream_model)
            and (not self.upstream or self.upstream == entry.upstream or self._tried(entry))
            and (not self.failed_at or self._failed(entry))
            and self.status in ("", entry.kind, str(entry.status))
            and self.code in ("", entry.code)
            and self.id in ("", entry.request_id, entry.trace_id)
        )

    def _failed(self, entry: RequestEntry) -> bool:
        return any(one.upstream == self.failed_at and one.result != "200" for one in entry.attempts)

    def _tried(self, entry: RequestEntry) -> bool:
        return any(attempt.upstream == self.upstream for attempt in entry.attempts)


def filter_of(arguments: dict[str, str]) -> Filter:
    """Read a filter from the parameters of the URL. Parameters that it does not know are left out."""
    known = {name: arguments[name].strip()[:300] for name in Filter._fields[:-1] if name in arguments}
    try:
        before = float(arguments["before"])
    except (KeyError, ValueError):
        before = None
    return Filter(**known, before=before)


def _rings() -> PageRings | None:
    return gateway().rings


def found(wanted: Filter) -> Iterator[RequestEntry]:
    rings = _rings()
    if rings is None:
        return iter(())
    return filter(wanted.fits, rings.entries(wanted.needles, wanted.before, marked_by(wanted.status)))


@page("requests")
def list_requests() -> Response:
    wanted, rings = filter_of(request.args.to_dict()), _rings()
    read = list(islice(found(wanted), PAGE + 1))
    entries = _short(read[:PAGE])
    formats = {kind.upper(): f"requests.{kind}?{query(**wanted.named)}" for kind in ("json", "csv")}
    return render(
        "requests.html",
        title="Requests",
        formats=formats,
        wanted=wanted,
        kinds=list(EndKind),
        entries=entries,
        older=entries[-1].at if len(read) > len(entries) else None,
        kept=rings.kept() if rings else None,
        arrived=rings.arrived() if rings else 0,
    )


def _short(entries: Iterable[RequestEntry]) -> list[RequestEntry]:
    """The first entries, as many as fit on a page."""
    return list(within(entries, _weight, _MOST_HTML))


def _weight(entry: RequestEntry) -> int:
    return weight(entry.key, entry.model, entry.upstream, entry.code, entry.request_id)


def request_values(here: Gateway) -> dict[str, Any]:
    """The last requests, for all who look at them without a filter."""
    rings = here.rings
    entries = _short(rings.latest(PAGE)) if rings else []
    return {"entries": entries, "arrived": rings.arrived() if rings else 0}


@page("request")
def show_request() -> Response:
    wanted = Filter(id=(request.args.get("id") or "-").strip()[:300])
    entries, rings = list(islice(found(wanted), 20)), _rings()
    return render(
        "request.html",
        title="Request",
        formats={"JSON": f"request.json?{query(id=wanted.id)}"},
        status=200 if entries else 404,
        wanted=wanted,
        entry=entries[0] if entries else None,
        others=entries[1:],
        steps=waterfall(entries[0]) if entries else [],
        kept=rings.kept() if rings else 0,
    )


@page("requests.json")
def requests_json() -> Response:
    entries = islice(found(filter_of(request.args.to_dict())), MOST)
    return as_json([_plain(entry) for entry in entries])


@page("request.json")
def request_json() -> Response:
    """All requests with the id of the URL: a caller may send one id several times."""
    wanted = Filter(id=(request.args.get("id") or "-").strip()[:300])
    return as_json([_plain(entry) for entry in islice(found(wanted), PAGE)])


def _plain(entry: RequestEntry) -> dict[str, object]:
    """The entry with its fields' names. The cost is in US dollars."""
    shown = {name: getattr(entry, name) for name in COLUMNS}
    shown["cost_usd"] = None if entry.cost is None else dollars(entry.cost)
    shown["attempts"] = [
        {name: getattr(one, name) for name in one.__struct_fields__} for one in entry.attempts
    ]
    return shown


@page("requests.csv")
def requests_csv() -> Response:
    entries = islice(found(filter_of(request.args.to_dict())), MOST)
    return Response(as_csv(entries), content_type="text/csv; charset=utf-8", headers=SAFE)


def as_csv(entries: Iterator[RequestEntry]) -> str:
    """A table for spreadsheets. A text that would be taken for a formula gets an apostrophe."""
    out = io.StringIO()
    rows = csv.writer(out)
    rows.writerow([*COLUMNS, "cost_usd", "attempts"])
    for entry in entries:
        attempts = "; ".join(f"{one.upstream} {one.result} {one.seconds:.2f}s" for one in entry.attempts)
        cost = "" if entry.cost is None else dollars(entry.cost)
        rows.writerow([safe_cell(value) for value in (*(getattr(entry, c) for c in COLUMNS), cost, attempts)])
    return out.getvalue()


def safe_cell(value: object) -> object:
    """A value that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
