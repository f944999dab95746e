"""Answers a request with an ``Idempotency-Key`` once, and repeats the answer for 24 hours.

The header is that of https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..model.errors import CallerError
from . import key_tables as tables
from .key_changes import OneChange
from .key_views import conflict

#: For how long an ``Idempotency-Key`` is remembered, seconds.
REMEMBERED = 86400


def earlier(step: OneChange, token: str, request: bytes) -> dict[str, Any] | None:
    """Return the answer to an earlier request of this admin with that key, marked as ``replayed``.

    :param request: a digest of the request. :raises CallerError: the key came with another one, or is none.
    """
    if not 0 < len(token) <= 200 or not token.isprintable():
        raise CallerError("Idempotency-Key: expected at most 200 printable characters.")
    known = tables.earlier_answer(step.db, step.actor.name, token, step.now - REMEMBERED)
    if known is None:
        return None
    if known[0] != request:
        raise conflict("This Idempotency-Key came with another request before.", "idempotency_conflict")
    return {**msgspec.json.decode(known[1]), "replayed": True}


def remember(step: OneChange, token: str, request: bytes, answer: dict[str, Any]) -> None:
    """Keep an answer, which has no secret, in the transaction of its change."""
    text = msgspec.json.encode(answer).decode()
    tables.keep_answer(step.db, step.actor.name, token, step.now, request, text)
