"""Serves ``POST /admin/v1/adjustments``: credits and charges of budgets."""

from __future__ import annotations

import logging
import re
from decimal import Decimal

import msgspec
from flask import Response, request

from ...auth.key_body import MOST_BODY, parsed
from ...model.errors import InvalidField
from ...model.money import MoneyError, dollars, nano_dollars
from ..json_response import json_response
from ..request_body import read_body
from ..request_state import gateway
from .access import admin, blueprint

log = logging.getLogger(__name__)

#: The longest subject, and the longest note, characters.
MOST_SUBJECT, MOST_NOTE = 200, 500
_SUBJECT = re.compile(r"all|(?:key|team):[^/]+(?:/model:.+)?|model:.+|user:[^/]+/.+")


class Adjustment(msgspec.Struct, forbid_unknown_fields=True):
    """A credit or a charge.

    :param subject: as in ``model/limits.py``. :param amount: US dollars; below 0: a credit.
    """

    subject: str
    amount: Decimal
    note: str = ""


@blueprint.post("/adjustments", provide_automatic_options=False)
def adjust() -> Response:
    """``{"subject": "key:web", "amount": "-5", "note": "…"}``: a credit of 5 US dollars, in force at once."""
    body = read_body(request._get_current_object(), MOST_BODY, lambda size: None)  # type: ignore[attr-defined]
    asked, accounting, who = parsed(body, Adjustment), gateway().accounting, admin()
    assert accounting is not None  # an admin needs a data directory
    if not _SUBJECT.fullmatch(asked.subject) or len(asked.subject) > MOST_SUBJECT:
        forms = (
            "key:ID, team:NAME, user:OWNER/NAME, model:NAME, key:ID/model:NAME, team:NAME/model:NAME or all"
        )
        raise InvalidField(f"subject: expected {forms}", param="subject")
    if len(asked.note) > MOST_NOTE:
        raise InvalidField(f"note: expected at most {MOST_NOTE} characters", param="note")
    amount = _nano(asked.amount)
    at = accounting.adjust(asked.subject, amount, who.request)
    log.warning(
        "adjustment by %s: %s USD for %s (%s), request %s",
        who.name,
        dollars(amount),
        asked.subject,
        asked.note,
        who.request,
    )
    return json_response(
        {
            "object": "adjustment",
            "id": who.request,
            "subject": asked.subject,
            "amount": dollars(amount),
            "note": asked.note,
            "at": at,
        }
    )


def _nano(amount: Decimal) -> int:
    text = f"{amount:f}"
    try:
        nano = nano_dollars(text.removeprefix("-"))
    except MoneyError as error:
        raise InvalidField(f"amount: {error}", param="amount") from None
    if nano == 0:
        raise InvalidField("amount: expected US dollars other than 0", param="amount")
    return -nano if text.startswith("-") else nano
