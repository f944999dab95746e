"""Serves ``/admin/v1/usage``, ``/admin/v1/charges`` and ``/admin/v1/prices``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from flask import Response

from ...app.prices import price_rows
from ...auth.key_pages import whole
from ...ledger import books, database
from ...ledger.places import ledger_of
from ...ledger.reports import ReportError, as_csv, charges, days, usage, with_unknown
from ...model.calendar_windows import zone
from ...model.errors import InvalidField, LedgerUnavailable
from ..json_response import json_response
from ..request_state import gateway
from .access import blueprint
from .parameters import arguments_of

#: The most charges of a page.
MOST_PAGE, USUAL_PAGE = 500, 50


def _data() -> Path:
    data = gateway().settings.ledger.data
    assert data is not None  # checked at the start, with the admin's key
    return Path(data)


@contextmanager
def reading() -> Iterator[database.Connection]:
    """A connection that reads the ledger.

    :raises LedgerUnavailable: it cannot be read now.
    """
    try:
        with closing(ledger_of(gateway().settings.ledger).read()) as connection:
            yield connection
    except books.TROUBLE as error:
        raise LedgerUnavailable(f"The ledger cannot be read now: {error}. Try again.") from None


@blueprint.get("/usage", provide_automatic_options=False)
def show_usage() -> Response:
    """``GET /admin/v1/usage?by=day,key&since=2026-11-01&until=2026-12-01&format=csv``."""
    wanted = arguments_of("by", "since", "until", "format")
    timezone = zone(gateway().settings.ledger.timezone)
    by = (wanted["by"] or "").split(",") if wanted["by"] else []
    if wanted["format"] not in (None, "json", "csv"):
        raise InvalidField("format: expected json or csv", param="format")
    try:
        since, until = days(wanted["since"], wanted["until"], timezone, time.time())
        with reading() as connection:
            rows = with_unknown(usage(connection, by, since, until, timezone))
    except ReportError as error:
        raise InvalidField(f"{error}.", param="by") from None
    if wanted["format"] == "csv":
        return Response(as_csv(rows), content_type="text/csv; charset=utf-8")
    return json_response({"object": "list", "data": rows})


@blueprint.get("/charges", provide_automatic_options=False)
def list_charges() -> Response:
    """``GET /admin/v1/charges?request_id&key&limit&after``: single charges, oldest first."""
    wanted = arguments_of("request_id", "key", "limit", "after")
    limit, after = whole("limit", wanted["limit"], USUAL_PAGE, MOST_PAGE), _place(wanted["after"])
    named = {"request_id": wanted["request_id"] or "", "key": wanted["key"] or ""}
    with reading() as connection:
        rows = charges(connection, **named, after=after, limit=limit + 1)
    page, more = rows[:limit], len(rows) > limit
    last = "-".join(str(page[-1][name]) for name in ("at", "journal", "offset")) if page else None
    return json_response({"object": "list", "data": page, "has_more": more, "last_id": last})


def _place(text: str | None) -> tuple[int, int, int]:
    parts = (text or "0-0-0").split("-")
    if len(parts) != 3 or not all(part.isdecimal() and len(part) < 16 for part in parts):
        raise InvalidField("after: expected the last_id of the page before", param="after")
    at, journal, offset = map(int, parts)
    return at, journal, offset


@blueprint.get("/prices", provide_automatic_options=False)
def show_prices() -> Response:
    """``GET /admin/v1/prices?model=UPSTREAM/MODEL``: what models cost now, and which source says so."""
    only = arguments_of("model")["model"]
    rows = list(price_rows(gateway().settings, _data(), only))
    return json_response({"object": "list", "data": rows})
