"""Serves ``GET /v1/key``: what a caller may know of its own key."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from flask import Blueprint, Response

from ..app.limit_usage import spend_of, usage_of_caller
from ..model.call import Caller
from ..model.money import dollars
from .auth import key_of
from .json_response import json_response
from .request_state import gateway, request_state

blueprint = Blueprint("own_key", __name__)


@blueprint.get("/v1/key", provide_automatic_options=False)
def show_own_key() -> Response:
    caller, told = request_state().known, gateway().settings.ledger.tell_cost
    return json_response(
        {
            "object": "key",
            "id": caller.id,
            "team": caller.team or None,
            "tags": dict(caller.tags),
            "models": None if caller.models is None else sorted(caller.models),
            "expires_at": _expires_at(),
            "limits": _limits(caller),
            "usage": usage_of_caller(gateway(), caller, money=told),
            "spend": spend_of(gateway(), f"key:{caller.id}") if told else None,
        }
    )


def _expires_at() -> int | None:
    """When the key expires, epoch seconds; ``None``: never. Keys of the settings never do."""
    issued, key = gateway().issued, key_of(request_state().header)
    if issued is None or key is None:
        return None
    known = issued.find(sha256(key.encode("utf-8", "surrogateescape")).digest())
    return known.expires_at or None if known else None


def _limits(caller: Caller) -> dict[str, Any]:
    """The key's own limits; 0 and an empty list: none. Budgets are shown where callers see costs."""
    own = caller.owners.key_policy.own if caller.owners else None
    told = own is not None and gateway().settings.ledger.tell_cost
    return {
        "requests": caller.rate_limit,
        "tokens": own.tokens if own else 0,
        "concurrent": caller.max_concurrent,
        "budgets": [
            {"amount": dollars(budget.amount), "window": budget.window.value, "strict": budget.strict}
            for budget in (own.budgets if own is not None and told else ())
        ],
    }
