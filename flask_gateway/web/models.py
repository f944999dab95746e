"""``GET /v1/models``: what the caller may call."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from ..model.errors import UnknownModel
from .json_response import json_response
from .request_state import gateway, request_state

blueprint = Blueprint("models", __name__)

#: The API tells when a model was made, which the gateway does not know. It is the same for all models, in all
#: workers and after each start, and a date that clients can show: 2026-01-01.
CREATED = 1767225600


@blueprint.get("/v1/models", provide_automatic_options=False)
def list_models() -> Response:
    data = [_model(name, upstream) for name, upstream in _callable().items()]
    # Codex reads nothing else, and complains of its absence. What it wants to know of each model, such as its
    # instructions and tools, is not known here; of an empty list it goes on with what it knows itself.
    return json_response({"object": "list", "data": data, "models": []})


@blueprint.get("/v1/models/<path:name>", provide_automatic_options=False)
def show_model(name: str) -> Response:
    upstream = _callable().get(name) or _unlisted(name)
    if upstream is None:
        raise UnknownModel(
            f"The model '{name[:200]}' is not listed here. GET /v1/models lists those you may call.",
            param="model",
        )
    return json_response(_model(name, upstream))


def _unlisted(name: str) -> str | None:
    """The upstream that a call of an unlisted model would be sent to first, if the caller may call it."""
    if not request_state().known.may_call(name):
        return None
    try:
        return gateway().routes.route(name).tiers[0][0].upstream
    except UnknownModel:
        return None


def _callable() -> dict[str, str]:
    """The listed models that this caller may name, each with its upstream."""
    listed, caller = gateway().listed(), request_state().known
    return {name: upstream for name, upstream in listed.items() if caller.may_call(name)}


def _model(name: str, upstream: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": upstream}
