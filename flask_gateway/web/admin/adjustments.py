"""Serves ``POST /admin/v1/adjustments``: credits and charges of budgets."""

from __future__ import annotations

import re
from decimal import Decimal
from hashlib import sha256
from typing import Any

import msgspec
from flask import Response, request

from ...auth.idempotency import earlier, remember
from ...auth.key_body import parsed
from ...auth.user_admin import require_owner
from ...model.errors import InvalidField
from ...model.money import MoneyError, dollars, nano_dollars
from ..json_response import json_response
from ..request_state import gateway
from .access import blueprint
from .changes import actor, body, changes

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
    """``{"subject": "key:web", "amount": "-5", "note": "…"}``: a credit of 5 US dollars, in force at once.

    The audit has it before the account does: a process that is killed in between leaves an entry without
    effect, and no effect without an entry. A repeated ``Idempotency-Key`` never counts twice.
    """
    asked = parsed(body(), Adjustment)
    amount = _checked(asked)
    shown: dict[str, Any] = {
        "object": "adjustment",
        "id": actor().request,
        "subject": asked.subject,
        "amount": dollars(amount),
        "note": asked.note,
    }
    token = request.headers.get("Idempotency-Key")
    digest = sha256(b"adjustment" + msgspec.json.encode(asked)).digest()
    with changes().change(actor()) as step:
        if token and (before := earlier(step, token, digest)):
            return json_response(before)
        require_owner(step.db, gateway().settings, asked.subject)
        shown["at"] = step.now
        step.audit("adjust", asked.subject, None, {"amount": shown["amount"], "note": asked.note})
        if token:
            remember(step, token, digest, shown)
    accounting = gateway().accounting
    assert accounting is not None  # an admin needs a data directory
    shown["at"] = accounting.adjust(asked.subject, amount, actor().request)
    return json_response(shown)


def _checked(asked: Adjustment) -> int:
    """The amount in nano-dollars."""
    if not _SUBJECT.fullmatch(asked.subject) or len(asked.subject) > MOST_SUBJECT:
        forms = (
            "key:ID, team:NAME, user:OWNER/NAME, model:NAME, key:ID/model:NAME, team:NAME/model:NAME or all"
        )
        raise InvalidField(f"subject: expected {forms}", param="subject")
    if len(asked.note) > MOST_NOTE:
        raise InvalidField(f"note: expected at most {MOST_NOTE} characters", param="note")
    return _nano(asked.amount)


def _nano(amount: Decimal) -> int:
    text = f"{amount:f}"
    try:
        nano = nano_dollars(text.removeprefix("-"))
    except MoneyError as error:
        raise InvalidField(f"amount: {error}", param="amount") from None
    if nano == 0:
        raise InvalidField("amount: expected US dollars other than 0", param="amount")
    return -nano if text.startswith("-") else nano
