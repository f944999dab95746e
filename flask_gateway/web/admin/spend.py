"""Adds to a list of ``/admin/v1`` what each of its entries has spent."""

from __future__ import annotations

import time
from typing import Any

from ...ledger import reports
from ...model.errors import InvalidField
from ..request_state import gateway
from .ledger import reading


def with_spend(text: str | None) -> bool:
    """Whether spend is asked for, by the parameter ``with``."""
    if text not in (None, "spend"):
        raise InvalidField("with: expected spend", param="with")
    return text == "spend"


def add_spend(page: dict[str, Any], subject: str = "key:{id}") -> dict[str, Any]:
    """Give each entry of a page ``spend``: US dollars by window, as the ledger has them.

    :param subject: of an entry, with its fields in braces.
    """
    accounting = gateway().accounting
    assert accounting is not None  # an admin needs a data directory
    starts = accounting.accounts.calendar.starts(time.time())
    subjects = [subject.format(**entry) for entry in page["data"]]
    with reading() as connection:
        found = reports.spend(connection, subjects, starts)
    data = [{**entry, "spend": found[name]} for entry, name in zip(page["data"], subjects, strict=True)]
    return {**page, "data": data}
