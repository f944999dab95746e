"""Lists issued keys and the audit by pages, for ``/admin/v1`` and for the command line."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from typing import Any

from ..model.errors import InvalidField
from . import key_tables as tables
from .key_admin import existing
from .key_views import audit_object, key_object

#: The most entries of a page, and of one that does not say.
MOST_PAGE, USUAL_PAGE = 500, 50
_WHOLE = re.compile(r"[0-9]{1,18}", re.ASCII)
#: The parameters of each list.
KEY_FILTERS = ("limit", "after", "team", "owner", "tag", "state", "q")
AUDIT_FILTERS = ("limit", "after", "subject")


def key_page(db: sqlite3.Connection, wanted: Mapping[str, str | None], now: int) -> dict[str, Any]:
    """A page of keys in the order in which they were made.

    :param wanted: the parameters, by their names in :data:`KEY_FILTERS`.
    :raises CallerError: one of them cannot be used.
    """
    limit = whole("limit", wanted.get("limit"), USUAL_PAGE, MOST_PAGE)
    tag, _, value = (wanted.get("tag") or "").partition("=")
    last = wanted.get("after")
    filters: dict[str, Any] = {name: wanted.get(name) for name in ("team", "owner", "state", "q")}
    filters |= {"tag": tag or None, "tag_value": value or None, "limit": limit + 1}
    rows = tables.keys_after(db, {**filters, "after": existing(db, last).number if last else 0})
    data = [key_object(row, tables.secrets_of(db, row.number), now) for row in rows[:limit]]
    return page(data, "id", more=len(rows) > limit)


def audit_page(db: sqlite3.Connection, wanted: Mapping[str, str | None]) -> dict[str, Any]:
    """A page of the audit, the newest entry first. ``after`` is the number of the last entry before it."""
    limit = whole("limit", wanted.get("limit"), USUAL_PAGE, MOST_PAGE)
    before = whole("after", wanted.get("after"), 2**62, 2**62)
    entries = tables.audits(db, before, wanted.get("subject"), limit + 1)
    return page([audit_object(entry) for entry in entries[:limit]], "number", more=len(entries) > limit)


def page(data: list[dict[str, Any]], last: str, *, more: bool) -> dict[str, Any]:
    """:param last: the field of an entry that the next page begins after."""
    return {
        "object": "list",
        "data": data,
        "has_more": more,
        "last_id": data[-1][last] if data else None,
    }


def whole(name: str, text: str | None, usual: int, most: int) -> int:
    """Read a whole number from 1 to ``most``; ``usual`` if it is not given."""
    if text is None:
        return usual
    if not _WHOLE.fullmatch(text) or not 0 < int(text) <= most:
        raise InvalidField(f"{name}: expected a whole number from 1 to {most}", param=name)
    return int(text)
