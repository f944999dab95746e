"""Opens the issued keys for an admin's request."""

from __future__ import annotations

from flask import request

from ...auth.key_body import MOST_BODY
from ...auth.key_changes import Actor, KeyChanges
from ...auth.key_places import key_store_of
from ...model.errors import BodyTooLarge
from ..request_body import read_body
from ..request_state import gateway
from .access import admin


def changes() -> KeyChanges:
    """The changes of the issued keys of this gateway."""
    return KeyChanges(key_store_of(gateway().settings.ledger, gateway().store), gateway().store)


def actor() -> Actor:
    """The admin of this request, for the audit."""
    who = admin()
    return Actor(who.name, who.request, who.address)


def body() -> bytes:
    """The body of this request; empty if there is none.

    :raises BodyTooLarge: it has more bytes than an admin's request may have.
    """
    if (request.content_length or 0) > MOST_BODY:
        raise BodyTooLarge(f"The body of an admin's request has at most {MOST_BODY} bytes. Send less.")
    if not request.content_length and "Transfer-Encoding" not in request.headers:
        return b""
    return read_body(request._get_current_object(), MOST_BODY, lambda size: None)  # type: ignore[attr-defined]
