"""Serves ``GET /v1/routes/{model}``: which upstreams a call of that model would be sent to now, and why."""

from __future__ import annotations

from flask import Blueprint, Response

from .json_response import json_response
from .request_state import gateway, request_state

blueprint = Blueprint("routes", __name__)


@blueprint.get("/v1/routes/<path:model>", provide_automatic_options=False)
def show_route(model: str) -> Response:
    candidates = gateway().candidates.explain(request_state().known, model)
    return json_response({"object": "route", "model": model, "candidates": candidates})
