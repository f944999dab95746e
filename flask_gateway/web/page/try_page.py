"""Serves ``/ui/try``: an admin sends a prompt, as callers do, and sees the answer as it comes.

The call is a call like any other: it meets the limits, the breakers and the ledger, and it is in the log and
among the requests. Its caller is ``page:NAME``, so that no key pays for it.
"""

from __future__ import annotations

from flask import Response, request

from ...app.build import Gateway
from ...model.call import Caller, Operation
from ...model.errors import GatewayError, InvalidField
from ...model.limits import NO_OWNER_LIMITS, Owners
from .. import error_handlers, inference
from ..request_state import gateway, request_state
from .access import SAFE, blueprint, visitor
from .models import caller_named
from .rendering import page, render

#: The limits of one admin: calls in any 60 s, and calls at once.
PER_MINUTE, AT_ONCE = 30, 4
#: The most names of models and keys that the form suggests.
_SUGGESTED = 200


def caller_of(here: Gateway, admin: str, models: frozenset[str] | None) -> Caller:
    """The caller of an admin's own calls. The general limits of the settings are in force for it.

    :param models: the models that it may call; ``None``: all.
    """
    name = f"page:{admin}"
    owners = Owners(name, NO_OWNER_LIMITS, "", NO_OWNER_LIMITS, here.settings.limits)
    return Caller(name, PER_MINUTE, models=models, max_concurrent=AT_ONCE, owners=owners)


def _models_of(key: str) -> frozenset[str] | None:
    """The models of a key by its name or id; all without one.

    :raises InvalidField: there is no such key.
    """
    if not key:
        return None
    if (known := caller_named(key)) is None:
        raise InvalidField(f"There is no key '{key}'. The page Keys lists them all.", param="key")
    return known.models


@page("try")
def show_try() -> Response:
    here = gateway()
    return render(
        "try.html",
        title="Try",
        model=request.args.get("model", "")[:300],
        models=list(here.listed())[:_SUGGESTED],
        keys=[key.id for key in here.settings.keys][:_SUGGESTED],
        per_minute=PER_MINUTE,
    )


@blueprint.post("/call", provide_automatic_options=False)
def call() -> Response:
    """Answer like ``/v1/chat/completions``, as the admin of the session."""
    key = request.args.get("key", "").strip()[:300]
    try:
        request_state().caller = caller_of(gateway(), visitor().name, _models_of(key))
        response = inference.answer(Operation.CHAT)
    except GatewayError as error:
        response = error_handlers.render(error)
    response.headers.extend(SAFE)
    return response
