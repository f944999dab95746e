"""``GET /v1/models``: what the caller may call."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from ..errors import UnknownModel
from .json import json_response
from .visit import gateway, visit

blueprint = Blueprint("models", __name__)

#: The API wants to know when a model was made, which nobody here knows. Clients need a number.
CREATED = 0


@blueprint.get("/v1/models", provide_automatic_options=False)
def list_models() -> Response:
    data = [_model(name, upstream) for name, upstream in _callable().items()]
    return json_response({"object": "list", "data": data})


@blueprint.get("/v1/models/<path:name>", provide_automatic_options=False)
def show_model(name: str) -> Response:
    upstream = _callable().get(name)
    if upstream is None:
        raise UnknownModel(
            f"The model '{name[:200]}' is not listed here. GET /v1/models lists those you may call.",
            param="model",
        )
    return json_response(_model(name, upstream))


def _callable() -> dict[str, str]:
    """The listed models that this caller may name, each with its upstream."""
    listed, caller = gateway().listed(), visit().known
    return {name: upstream for name, upstream in listed.items() if caller.may_call(name)}


def _model(name: str, upstream: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": upstream}
