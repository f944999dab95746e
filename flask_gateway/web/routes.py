"""``GET /v1/routes/{model}``: where a call of that model would go now, and why."""

from __future__ import annotations

from flask import Blueprint, Response, g

from .door import gateway
from .json import json_response

blueprint = Blueprint("routes", __name__)


@blueprint.get("/v1/routes/<path:model>", provide_automatic_options=False)
def show_route(model: str) -> Response:
    found = gateway().candidates.explain(g.caller, model)
    return json_response({"object": "route", "model": model, "candidates": found})
